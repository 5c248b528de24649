"""An install of its own, for commands that write much or stop everything."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from aisaas.cli import environment, main
from aisaas.cli.instance import Running
from aisaas.db.migrate import upgrade
from devstack.stack import Stack

PARTS = ("postgres", "valkey", "auth", "payments")

Sql = Callable[..., list[tuple[object, ...]]]
Command = Callable[..., int]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operations") / "data"


@pytest.fixture(scope="session")
def install(folder: Path) -> Generator[Stack]:
    with Stack(folder, PARTS) as running:
        upgrade(running.env["MIGRATION_DATABASE_URL"])
        yield running


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, install: Stack, folder: Path) -> Generator[Command]:
    """Runs a command as someone beside the install does; settings by variable."""

    def run(*words: str, **variables: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            named = {"EMBEDDED_PARTS": ",".join(PARTS), "OLLAMA_API_BASE": "http://127.0.0.1:9"}
            for name, value in (install.env | named | variables).items():
                patch.setenv(name, value)
            patch.setenv("AISAAS_DATA_DIR", str(folder))
            environment.configured.cache_clear()
            return main(words)

    yield run
    environment.configured.cache_clear()


@pytest.fixture
def sql(install: Stack) -> Sql:
    return sql_at(install)


def sql_at(stack: Stack) -> Sql:
    """Runs statements as the schema's owner."""

    def run(statement: str, *args: object) -> list[tuple[object, ...]]:
        with psycopg.connect(stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            cursor = connection.execute(statement, args)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

    return run


def announce(stack: Stack) -> None:
    """As `run` tells the other commands where it is."""
    env = stack.env
    stack.folder.describe(
        asdict(
            Running(
                url="http://127.0.0.1:3000",
                database_url=env["DATABASE_URL"],
                service_database_url=env["SERVICE_DATABASE_URL"],
                redis_url=env["REDIS_URL"],
                auth_url=env["SUPABASE_URL"],
                mailbox_url=None,
                model_base=None,
                data_dir=str(stack.folder.path),
                pids=stack.pids,
                env=dict(env),
            )
        )
    )
