"""A blocked event loop is noticed from a thread, which logs where it is blocked."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time

import pytest

from aisaas.observe import loop_watch
from aisaas.observe.loop_watch import loop_watched

BLOCKED = """
import asyncio, logging, time
from aisaas.observe import loop_watch
loop_watch.EVERY_SECONDS = 0.05
loop_watch.LOG_AFTER_SECONDS = 0.2
logging.basicConfig(level="ERROR")

async def main():
    async with loop_watch.loop_watched(exit_after=0.5):
        await asyncio.sleep(0)
        time.sleep(60)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(loop_watch, "LOG_AFTER_SECONDS", 1.0)


def blocked_here(until: float) -> None:
    while time.monotonic() < until:
        time.sleep(0.02)


async def test_a_loop_that_stands_still_is_reported_once_with_the_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with loop_watched():
        await asyncio.sleep(0)
        blocked_here(time.monotonic() + 3)
    logged = [record for record in caplog.records if record.name == loop_watch.__name__]
    assert [record.levelno for record in logged] == [logging.ERROR]
    assert "blocked_here" in logged[0].getMessage()


async def test_a_loop_that_comes_round_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with loop_watched(exit_after=60):
        for _ in range(10):
            await asyncio.sleep(0.05)
    assert [record for record in caplog.records if record.name == loop_watch.__name__] == []


def test_a_process_that_nobody_else_watches_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1
    assert "time.sleep(60)" in done.stderr or "<string>" in done.stderr
    assert "this process ends" in done.stderr
