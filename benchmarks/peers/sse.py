"""Listeners of the bare streaming endpoint."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.levels import Candidate, Listener, Token, prompt
from benchmarks.peers.endpoint import endpoint
from childprocess.ports import HOST
from childprocess.processes import Process
from devstack.stack import Stack

_EVENT = b"data: "
ROOT = Path(__file__).parents[2]


class SseListener(Listener):
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def listen(self, seconds: int) -> list[Token]:
        found: list[Token] = []
        parameters = {"text": prompt(seconds)}
        async with self._session.get(f"{self._url}/stream", params=parameters) as answer:
            async for line in answer.content:
                self.received += len(line)
                if line.startswith(_EVENT):
                    arrived = time.monotonic()
                    for stamp in json.loads(line[len(_EVENT) :]).split():
                        found.append(Token.of(stamp, arrived))
        return found


class BareSse(Candidate):
    def __init__(self, url: str, process: Process) -> None:
        self._url = url
        self._process = process

    @property
    def pids(self) -> Iterable[int]:
        return [self._process.pid] if self._process.pid is not None else []

    async def listeners(self, count: int) -> AsyncGenerator[Sequence[Listener]]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield [SseListener(session, self._url) for _ in range(count)]


@contextmanager
def bare_sse(folder: Path, stack: Stack) -> Generator[BareSse]:
    """The endpoint runs inside the block."""

    def command(port: int) -> list[str]:
        address = ("--host", HOST, "--port", str(port))
        app = "benchmarks.peers.bare_sse:app"
        return [sys.executable, "-m", "granian", "--interface", "asgi", *address, app]

    path = {"PYTHONPATH": str(ROOT)}
    with endpoint("sse", command, folder=folder, stack=stack, cwd=ROOT, env=path) as made:
        port, process = made
        yield BareSse(f"http://{HOST}:{port}", process)
