"""How workers follow each other, with workers that do nothing but listen."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from aisaas.cli.workers import Workers
from aisaas.embedded.processes import Process, Service, free_port, listens

# Ends at once where a file says so, as a release does that can't start.
PROGRAM = """
import pathlib, signal, socket, sys
if pathlib.Path(sys.argv[2]).exists():
    sys.exit(1)
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listening.bind(("127.0.0.1", int(sys.argv[1])))
listening.listen()
signal.pause()
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """While this file is there no worker starts."""
    return tmp_path / "broken"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def workers(tmp_path: Path, broken: Path, said: list[str]) -> Generator[Workers]:
    port = free_port()

    def make(number: int) -> Process:
        def answers() -> bool:
            return process.pid is not None and listens(process.pid, port)

        process = Process(
            Service(
                name=f"worker{number}",
                title=f"Worker {number + 1}",
                port=port,
                argv=[sys.executable, "-c", PROGRAM, str(port), str(broken)],
                log=tmp_path / "log",
                answers=answers,
                stop_seconds=5,
            )
        )
        return process

    made = Workers(2, make, say=said.append)
    try:
        made.start()
        yield made
    finally:
        pids = made.pids
        made.stop()
        assert made.pids == []
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_roll_replaces_every_worker(workers: Workers) -> None:
    before = workers.pids
    assert workers.roll()
    assert len(workers.pids) == 2
    assert not set(workers.pids) & set(before)


def test_workers_go_on_when_their_successors_do_not_start(
    workers: Workers, broken: Path, said: list[str]
) -> None:
    before = workers.pids
    broken.touch()
    assert not workers.roll()
    assert workers.pids == before
    assert "the workers there are go on" in said[-1]


def test_a_worker_that_died_is_started_again_as_soon_as_it_can_be(
    workers: Workers, broken: Path
) -> None:
    killed, left = workers.pids
    broken.touch()
    os.kill(killed, signal.SIGKILL)
    while workers.pids != [left]:
        time.sleep(0.01)
    workers.look()
    assert workers.pids == [left]
    broken.unlink()
    while len(workers.pids) < 2:
        workers.look()
        time.sleep(0.05)
    assert left in workers.pids
