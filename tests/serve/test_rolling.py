"""How workers follow each other, with workers that do nothing but listen and show a pulse."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from aisaas.observe.pulse import Pulse
from aisaas.process import workers as supervising
from aisaas.process.workers import Worker, Workers
from childprocess.errors import StartError
from childprocess.ports import free_port, listens
from childprocess.processes import Process, Service

# Ends at once where a file says so, as a release does that can't start; its loop stands still on SIGUSR1.
PROGRAM = """
import asyncio, pathlib, signal, socket, sys, time
from aisaas.observe.pulse import answered
if pathlib.Path(sys.argv[2]).exists():
    sys.exit(1)

async def serve():
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", int(sys.argv[1])))
    listening.listen()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, time.sleep, 600)
    async with answered(sys.argv[3]):
        await ended.wait()

asyncio.run(serve())
"""
PATIENCE_SECONDS = 60


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """While this file is there no worker starts."""
    return tmp_path / "broken"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def workers(
    tmp_path: Path, broken: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> Generator[Workers]:
    monkeypatch.setattr(supervising, "HUNG_SECONDS", 2.0)
    port = free_port()
    made_so_far: list[Worker] = []

    def make(number: int) -> Worker:
        pulse = Pulse(str(tmp_path / f"{len(made_so_far)}.pulse"))
        process = Process(
            Service(
                name=f"worker{number}",
                title=f"Worker {number + 1}",
                port=port,
                argv=[sys.executable, "-c", PROGRAM, str(port), str(broken), pulse.path],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                log=tmp_path / "log",
                answers=lambda: (
                    pulse.look() and process.pid is not None and listens(process.pid, port)
                ),
                prepare=pulse.begin,
                stop_seconds=5,
            )
        )
        made_so_far.append(Worker(process, pulse))
        return made_so_far[-1]

    made = Workers(2, make, say=said.append)
    try:
        made.start()
        yield made
    finally:
        pids = made.pids
        made.stop()
        assert made.pids == []
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert not any(worker.process.alive for worker in made_so_far)


def until(workers: Workers, met: Callable[[], bool]) -> None:
    """Look after them until it is met."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < deadline
        workers.look()
        time.sleep(0.05)


def test_a_roll_replaces_every_worker(workers: Workers) -> None:
    before = workers.pids
    assert workers.roll()
    assert len(workers.pids) == 2
    assert not set(workers.pids) & set(before)
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)
    assert workers.supervision.restarts == {"done": 1, "given_up": 0}


def test_workers_go_on_when_their_successors_do_not_start(
    workers: Workers, broken: Path, said: list[str]
) -> None:
    before = workers.pids
    broken.touch()
    assert not workers.roll()
    assert workers.pids == before
    assert "all former workers go on" in said[-1]
    assert workers.supervision.restarts == {"done": 0, "given_up": 1}


def test_a_restart_that_fails_half_way_leaves_none_of_the_new_workers(
    workers: Workers, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, first = workers.pids, list[int]()
    start = Process.start

    def start_and_break(process: Process, **options: Callable[[], None]) -> None:
        start(process, **options)
        # The first has come up; the release can't start any more.
        assert process.pid is not None
        first.append(process.pid)
        broken.touch()

    monkeypatch.setattr(Process, "start", start_and_break)
    assert not workers.roll()
    assert len(first) == 1
    assert workers.pids == before
    assert not Path(f"/proc/{first[0]}").exists()
    broken.unlink()
    monkeypatch.setattr(Process, "start", start)
    assert workers.roll()
    assert not set(workers.pids) & set(before)


def test_a_worker_that_died_is_started_again_as_soon_as_it_can_be(
    workers: Workers, broken: Path
) -> None:
    killed, left = workers.pids
    broken.touch()
    os.kill(killed, signal.SIGKILL)
    until(workers, lambda: workers.pids == [left])
    broken.unlink()
    until(workers, lambda: len(workers.pids) == 2)
    assert left in workers.pids
    assert workers.supervision.replaced == {"ended": 1, "hung": 0}
    assert workers.supervision.workers == 2


@pytest.mark.parametrize("hang", [signal.SIGSTOP, signal.SIGUSR1])
def test_a_worker_that_hangs_is_replaced_and_the_other_is_left_alone(
    workers: Workers, said: list[str], hang: signal.Signals
) -> None:
    hanging, left = workers.pids
    # Both are well for longer than one may be silent.
    well_until = time.monotonic() + 2 * supervising.HUNG_SECONDS
    until(workers, lambda: time.monotonic() > well_until)
    assert workers.pids == [hanging, left]
    os.kill(hanging, hang)
    until(workers, lambda: hanging not in workers.pids and len(workers.pids) == 2)
    assert left in workers.pids
    assert any(f"pid {hanging}, hangs" in line for line in said)
    assert workers.supervision.replaced == {"ended": 0, "hung": 1}


def test_a_worker_that_hangs_is_noticed_while_another_comes_up(
    workers: Workers, broken: Path
) -> None:
    killed, hanging = workers.pids
    os.kill(hanging, signal.SIGSTOP)
    broken.touch()
    os.kill(killed, signal.SIGKILL)
    until(workers, lambda: workers.pids == [])
    broken.unlink()
    until(workers, lambda: len(workers.pids) == 2)
    assert workers.supervision.replaced == {"ended": 1, "hung": 1}


def test_when_none_can_be_brought_up_it_is_given_up(
    workers: Workers, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "GIVE_UP_SECONDS", 1.0)
    broken.touch()
    for pid in workers.pids:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(StartError, match="No worker could be started"):
        until(workers, lambda: False)
