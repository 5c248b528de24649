"""`run --reload` with the whole product, in a copy of the project whose sources a test may change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import pytest

from aisaas.settings import PROJECT_ROOT
from childprocess.ports import free_port
from tests.front_end import kept
from tests.ui.conftest import START_SECONDS, STOP_SECONDS

COPIED = ("aisaas", "alembic", "assets", "childprocess", "devstack", "reflex.lock", ".web/build")
FILES = ("rxconfig.py", "requirements.txt")

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("front_end")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    with kept():
        for name in COPIED:
            shutil.copytree(PROJECT_ROOT / name, copy / name, ignore=ignored, symlinks=True)
    for name in FILES:
        shutil.copyfile(PROJECT_ROOT / name, copy / name)
    return copy


@pytest.fixture
def url(project: Path, tmp_path: Path) -> Generator[str]:
    port = free_port()
    env = os.environ | {"PORT": str(port), "AISAAS_DATA_DIR": str(tmp_path / "data")}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "aisaas", "run", "--reload"]
    with (tmp_path / "run.log").open("w") as log:
        process = subprocess.Popen(command, cwd=project, env=env, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def health(url: str) -> str:
    try:
        return str(httpx.get(f"{url}/health").raise_for_status().json()["status"])
    except httpx.HTTPError:
        return ""


def wait_until(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_changed_source_is_served_while_the_other_parts_keep_running(
    url: str, project: Path, tmp_path: Path
) -> None:
    log, described = tmp_path / "run.log", tmp_path / "data" / "run.json"
    wait_until(lambda: health(url) == "ok" and "Stop " in log.read_text(), log)
    before = json.loads(described.read_text())["pids"]
    source = project / "aisaas" / "api" / "health.py"
    source.write_text(source.read_text().replace('"ok"', '"changed"'))
    wait_until(lambda: health(url) == "changed", log)
    wait_until(lambda: json.loads(described.read_text())["pids"]["app"] != before["app"], log)
    after = json.loads(described.read_text())["pids"]
    assert {name: pid for name, pid in after.items() if name != "app"} == {
        name: pid for name, pid in before.items() if name != "app"
    }
    assert "Changed: aisaas/api/health.py" in log.read_text()
    # No page can contain it.
    assert "Front end" not in log.read_text()
