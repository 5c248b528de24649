"""Where JSON is asked for, every line is JSON: also why something did not start, and what nobody caught."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aisaas.settings import PROJECT_ROOT
from childprocess.ports import free_port
from devstack.stack import Stack
from tests.serve.conftest import command, settings

URL = "http://127.0.0.1:4000"


def lines(env: dict[str, str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """All that a command writes, to either stream."""
    done = subprocess.run(
        arguments,
        env=env,
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def env(stack: Stack, tmp_path: Path) -> dict[str, str]:
    return settings(tmp_path, stack, URL, LOG_FORMAT="json", PORT=str(free_port()))


@pytest.mark.parametrize("name", ["serve", "worker", "migrate"])
def test_settings_that_are_not_fit_are_a_line(name: str, env: dict[str, str]) -> None:
    env |= {"REDIS_URL": "nonsense", "MIGRATION_DATABASE_URL": ""}
    status, [line] = lines(env, *command(name))
    assert (status, line["level"], line["logger"]) == (1, "error", f"aisaas.cli.{name}")
    assert "The settings are not fit to start with" in line["message"]


def test_a_database_that_is_away_is_a_line(env: dict[str, str]) -> None:
    env |= {"MIGRATION_DATABASE_URL": f"postgresql://a:a-long-password@127.0.0.1:{free_port()}/p"}
    status, [*_, line] = lines(env, *command("migrate"))
    assert (status, line["level"]) == (1, "error")
    assert "migrating the database" in line["message"]
    assert "a-long-password" not in line["message"]


def test_migrations_say_what_they_do_in_lines(env: dict[str, str]) -> None:
    status, found = lines(env, *command("migrate"))
    assert status == 0
    assert {"alembic.runtime.plugins.setup", "aisaas.cli.migrate"} & {
        line["logger"] for line in found
    }
    assert found[-1]["message"] == "The database schema is up to date."


def test_text_is_for_people_where_it_is_asked_for(env: dict[str, str]) -> None:
    done = subprocess.run(
        command("migrate"),
        env=env | {"LOG_FORMAT": "text"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "The database schema is up to date.\n")


def test_an_app_that_can_not_be_loaded_is_a_line_with_its_stack(env: dict[str, str]) -> None:
    program = "from aisaas.serve import app; app()"
    status, [line] = lines(env | {"REDIS_URL": "nonsense"}, sys.executable, "-c", program)
    assert (status, line["level"]) == (1, "critical")
    assert "REDIS_URL" in line["exception"]


SURPRISES = """
from aisaas import observing
from aisaas.adapters.litellm_model import _import_litellm
from aisaas.settings import load
observing.begin(load())
_import_litellm()

import asyncio, gc, logging, threading, warnings
thread = threading.Thread(target=lambda: {}['in a thread'])
thread.start()
thread.join()
warnings.warn('a warning')
class Finalized:
    def __del__(self): {}['in a finalizer']
Finalized()
gc.collect()
logging.getLogger('LiteLLM').critical('of a library')
async def task(): {}['in a task']
async def forgets(): asyncio.ensure_future(task()); await asyncio.sleep(0)
asyncio.run(forgets())
raise ValueError('uncaught')
"""


def test_what_nobody_caught_is_a_line(env: dict[str, str]) -> None:
    _, found = lines(env, sys.executable, "-c", SURPRISES)
    signs = ("a thread", "a warning", "a finalizer", "of a library", "a task", "uncaught")
    assert len(found) == len(signs)
    for line, sign in zip(found, signs, strict=True):
        assert line["level"] in {"warning", "error", "critical"}
        assert sign in line["message"] + line.get("exception", ""), line


def test_a_worker_speaks_in_lines_and_serves_its_figures(env: dict[str, str]) -> None:
    import time

    import httpx

    port = free_port()
    worker = subprocess.Popen(
        command("worker"),
        env=env | {"WORKER_PORT": str(port), "METRICS_TOKEN": "t" * 40},
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
                break
            except httpx.HTTPError:
                assert worker.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        bearer = {"Authorization": f"Bearer {'t' * 40}"}
        url = f"http://127.0.0.1:{port}/metrics"
        assert httpx.get(url, headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401
        while "aisaas_db_pool_limit" not in (text := httpx.get(url, headers=bearer).text):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert 'aisaas_job_runs_total{result="done",task="recover_replies"}' in text
        assert httpx.get(f"http://127.0.0.1:{port}/chat").status_code == 404
    finally:
        worker.terminate()
        output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    found = [json.loads(line) for line in output.splitlines()]
    assert found[-1]["message"] == "Stopped."
    assert any(line["message"].startswith("Working: ") for line in found)
