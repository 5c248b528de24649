"""What pyproject.toml says of the project is true: one version, one command."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import aisaas
from aisaas.cli import parse
from aisaas.platform_support import PYTHONS
from aisaas.settings import PROJECT_ROOT

PROJECT: dict[str, Any] = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())


def test_version_stands_in_one_place_and_the_command_line_tells_it() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    module, name = PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"].split(".")
    version = getattr(importlib.import_module(module), name)
    assert version == aisaas.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    asked = subprocess.run(
        [sys.executable, "-m", "aisaas", "--version"],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout == f"aisaas {version}\n"


def test_script_is_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = EntryPoint("aisaas", PROJECT["project"]["scripts"]["aisaas"], "console_scripts")
    monkeypatch.setattr(sys, "argv", ["aisaas", "status", "--help"])
    with pytest.raises(SystemExit) as ended:
        script.load()()
    assert ended.value.code == 0
    assert "Show the running instance" in capsys.readouterr().out


def test_supported_pythons_are_those_that_the_check_lets_through() -> None:
    oldest, newest = PYTHONS[0], PYTHONS[-1]
    expected = f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    assert PROJECT["project"]["requires-python"] == expected


def test_packages_are_those_of_the_architecture() -> None:
    include = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert [name.removesuffix("*") for name in include] == PROJECT["tool"]["importlinter"][
        "root_packages"
    ]


@pytest.mark.parametrize("target", ["dev", "shell", "db"])
def test_make_runs_a_command_that_there_is(target: str) -> None:
    # `-n` prints what would run. The environment is taken to be installed.
    shown = subprocess.run(
        ["make", "-n", target], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    [command] = re.findall(r"-m aisaas (.+)", shown.stdout)
    assert parse(command.split()).command == command.split()[0]
    assert f"make {target} " in (PROJECT_ROOT / "Makefile").read_text()
