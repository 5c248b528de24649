"""`reload`, workers that hang, and what an operator reads about both, with real workers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from aisaas.cli.serve import control
from aisaas.process.workers import HUNG_SECONDS
from aisaas.settings import PROJECT_ROOT
from childprocess.errors import StartError
from childprocess.ports import free_port
from childprocess.tree import process_tree
from devstack.stack import Stack
from tests.front_end import hidden
from tests.serve.conftest import START_SECONDS, Served, command, served

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("front_end")]


@dataclass(frozen=True)
class Systemd:
    """Hears what a service says of itself, at `path`."""

    path: Path
    heard: list[str]

    def hears(self, words: str, times: int = 1) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.count(words) < times:
            assert time.monotonic() < deadline, self.heard
            time.sleep(0.05)

    def count(self, words: str) -> int:
        return sum(words in text for text in self.heard)


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Systemd]:
    found = Systemd(tmp_path_factory.mktemp("systemd") / "notify", [])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(found.path))
        listening.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    found.heard.append(listening.recv(4096).decode())

        thread = threading.Thread(target=listen)
        thread.start()
        yield found
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def two(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory, systemd: Systemd
) -> Generator[Served]:
    variables = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "2000000"}
    folder = tmp_path_factory.mktemp("two")
    with served(
        folder, stack, "--workers", "2", SHUTDOWN_GRACE_SECONDS="4", **variables
    ) as running:
        yield running


def reload(two: Served) -> tuple[int, str]:
    done = subprocess.run(
        command("reload", "--port", str(two.port)),
        env=two.env,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def figure(two: Served, name: str) -> float:
    text = httpx.get(f"{two.url}/metrics").raise_for_status().text
    return float(text.partition(f"\n{name} ")[2].split()[0])


def serving(two: Served) -> float:
    try:
        return figure(two, "aisaas_workers")
    except httpx.TransportError:
        return 0


def test_systemd_is_notified_when_it_serves_and_that_it_lives(
    two: Served, systemd: Systemd
) -> None:
    systemd.hears("READY=1")
    systemd.hears("WATCHDOG=1", systemd.count("WATCHDOG=1") + 2)
    # Only the supervisor speaks to it.
    for worker in two.workers:
        for member in process_tree(worker):
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{member}/environ").read_bytes()


def test_a_reload_ends_with_0_when_every_worker_is_new(two: Served, systemd: Systemd) -> None:
    ready = systemd.count("READY=1")
    before, done = two.workers, figure(two, 'aisaas_restarts_total{result="done"}')
    status, words = reload(two)
    assert (status, words.startswith("All workers are new, pids ")) == (0, True)
    assert len(two.workers) == 2
    assert not two.workers & before
    assert figure(two, 'aisaas_restarts_total{result="done"}') == done + 1
    [reloading] = [text for text in systemd.heard if "RELOADING" in text]
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading)
    systemd.hears("READY=1", ready + 1)


def test_a_reload_that_is_given_up_ends_with_1_says_why_and_is_counted(two: Served) -> None:
    before, count = two.workers, figure(two, 'aisaas_restarts_total{result="given_up"}')
    with hidden():
        status, words = reload(two)
    assert status == 1
    assert "The front end isn't built for this release" in words
    assert "All former workers go on" in words
    assert two.workers == before
    assert figure(two, 'aisaas_restarts_total{result="given_up"}') == count + 1
    logged = [line for line in two.log.read_text().splitlines() if "is given up" in line]
    assert all('"level": "error"' in line for line in logged)
    assert logged


@pytest.mark.parametrize("whole", [True, False], ids=["server", "app"])
def test_a_worker_that_hangs_is_replaced_while_the_other_serves(two: Served, whole: bool) -> None:
    """Frozen are either the server that was started, or the app below it alone."""
    before, hung = two.workers, figure(two, 'aisaas_workers_replaced_total{reason="hung"}')
    worker = min(before)
    frozen = worker if whole else process_tree(worker)[-1]
    os.kill(frozen, signal.SIGSTOP)
    deadline = time.monotonic() + HUNG_SECONDS + START_SECONDS
    while worker in two.workers or len(two.workers) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert two.workers > before - {worker}
    two.says(f"pid {worker}, hangs")
    deadline = time.monotonic() + START_SECONDS
    # The kernel gives us to either, for a moment also to the one that is gone.
    while serving(two) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert figure(two, 'aisaas_workers_replaced_total{reason="hung"}') == hung + 1


def test_a_reload_of_nobody_says_where_it_looked(two: Served, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No `serve` can be reached"):
        control.reload(tmp_path, free_port())


def test_the_way_to_ask_is_its_own_users_only(two: Served) -> None:
    path = Path(two.env["AISAAS_DATA_DIR"]) / f"serve-{two.port}.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
