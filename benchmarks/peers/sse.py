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
from childprocess.ports import HOST, answers_http, free_port
from childprocess.processes import Process, Service
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
    port = free_port()
    service = Service(
        name="sse",
        title="The bare endpoint",
        port=port,
        argv=[
            *(sys.executable, "-m", "granian", "--interface", "asgi"),
            *("--host", HOST, "--port", str(port), "benchmarks.peers.bare_sse:app"),
        ],
        env={
            "OPENAI_API_BASE": stack.env["DEMO_API_BASE"],
            "OPENAI_API_KEY": stack.env["DEMO_API_KEY"],
            "PYTHONPATH": str(ROOT),
        },
        cwd=ROOT,
        log=folder / "sse.log",
        answers=lambda: answers_http(port, "/"),
        stop_seconds=5.0,
        start_seconds=60.0,
    )
    process = Process(service)
    process.spawn()
    try:
        process.wait_until_it_answers()
        yield BareSse(f"http://{HOST}:{port}", process)
    finally:
        process.stop()
