"""The two prompts into a running instance: psql on its database, and Python with its services."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from aisaas.cli.run import db
from aisaas.settings import PROJECT_ROOT
from childprocess.errors import StartError
from devstack.stack import Stack
from tests.operations.conftest import Command, announce


@pytest.fixture
def described(install: Stack) -> Generator[Stack]:
    announce(install)
    yield install
    install.folder.forget_description()


def psql(folder: Path, statements: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "AISAAS_DATA_DIR": str(folder), "PSQLRC": os.devnull}
    command = [sys.executable, "-m", "aisaas", "db", "psql"]
    return subprocess.run(
        command,
        input=statements,
        env=env,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_psql_reaches_the_database_of_the_running_instance_as_its_owner(described: Stack) -> None:
    asked = psql(
        described.folder.path, "\\pset format unaligned\nselect 'I am ' || current_user;\n"
    )
    assert asked.returncode == 0, asked.stderr
    assert "I am postgres" in asked.stdout
    secret = described.env["MIGRATION_DATABASE_URL"].split(":")[2].split("@")[0]
    assert secret not in asked.stdout + asked.stderr


def test_psql_ends_with_its_own_exit_code(described: Stack) -> None:
    asked = psql(described.folder.path, "\\set ON_ERROR_STOP on\nselect no_such_column;\n")
    assert asked.returncode == 3
    assert 'column "no_such_column" does not exist' in asked.stderr


def test_psql_without_a_running_instance_says_how_to_start_one(
    command: Command, install: Stack, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install.folder.forget_description()
    assert command("db", "psql") == 1
    assert "Start one with `make run`" in capsys.readouterr().err


def test_machine_without_psql_is_reported(
    command: Command,
    described: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def none() -> Path:
        raise StartError("no server on this machine")

    for binaries in (none, lambda: tmp_path):
        monkeypatch.setattr(db, "find_binaries", binaries)
        assert command("db", "psql", PATH=str(tmp_path)) == 1
        assert "No psql was found" in capsys.readouterr().err


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_shell_awaits_services_of_the_running_instance(
    command: Command,
    described: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed(
        monkeypatch,
        "found = await services.dependencies.look()",
        "print({each.name for each in found.answers if each.ok} >= {'database', 'redis'})",
        "print(settings.database_url.get_secret_value())",
    )
    assert command("shell") == 0
    said = capsys.readouterr()
    assert "http://127.0.0.1:3000" in said.err
    assert "True" in said.out
    assert described.env["DATABASE_URL"] in said.out


def test_shell_shows_what_fails_and_goes_on(
    command: Command,
    described: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed(
        monkeypatch,
        "await services.users.named(operator, 'nobody@example.com')",
        "1 / 0",
        "import asyncio; 6 * await asyncio.sleep(0, 7)",
    )
    assert command("shell") == 0
    said = capsys.readouterr()
    assert "No account has that email address or ID" in said.err
    assert "ZeroDivisionError" in said.err
    assert "42" in said.out
