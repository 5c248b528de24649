"""`python -m aisaas serve` with real processes on the embedded parts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aisaas.settings import PROJECT_ROOT
from benchmarks.instance import environment
from childprocess.ports import free_port
from childprocess.tree import parents, process_tree
from devstack.stack import Stack
from tests.front_end import kept
from tests.ui.conftest import chromium, front_end

__all__ = ["chromium", "front_end"]

START_SECONDS = 90
STOP_SECONDS = 60


@dataclass(frozen=True)
class Served:
    """A running `serve`; `workers` are the processes it started, each with its own below it."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    env: dict[str, str]

    @property
    def workers(self) -> set[int]:
        return {child for child, parent in parents() if parent == self.process.pid}

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has said so."""
        deadline = time.monotonic() + START_SECONDS
        while self.log.read_text().count(words) < times:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"never said {words!r}: {self.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def worker_of(self, client_port: int) -> int:
        """The worker that a connection has come to, by the client's own port."""
        inode = next(
            fields[9]
            for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
            if _port(fields[1]) == self.port and _port(fields[2]) == client_port
        )
        for worker in self.workers:
            for member in process_tree(worker):
                if inode in _sockets(member):
                    return worker
        raise AssertionError("nobody has that connection")


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _sockets(pid: int) -> set[str]:
    found: set[str] = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = file.readlink().name
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target.removeprefix("socket:[").removesuffix("]"))
    return found


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "aisaas", *arguments]


def settings(folder: Path, stack: Stack, url: str, **others: str) -> dict[str, str]:
    own = {"TAB_STATES": "redis", "AISAAS_DATA_DIR": str(folder / "own")}
    return dict(os.environ) | environment(folder, stack, url) | own | others


@contextmanager
def served(folder: Path, stack: Stack, *arguments: str, **others: str) -> Generator[Served]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = settings(folder, stack, url, **others)
    log = folder / "serve.log"
    with ExitStack() as undo:
        with kept():
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command("serve", "--port", str(port), *arguments),
                    env=env,
                    cwd=PROJECT_ROOT,
                    stdout=output,
                    stderr=output,
                )
            running = Served(url, port, process, log, env)
            undo.callback(_end, running)
            running.says("Serving ")
        yield running


def _end(running: Served) -> None:
    running.process.terminate()
    running.process.wait(STOP_SECONDS)
    assert running.workers == set()
