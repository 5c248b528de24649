"""What other people notice while a stranger holds thousands of unfinished connections.

Four kinds, one at a time: forms that stop after two bytes, silent connections, headers that never
end, and web sockets that never open a namespace. All come from one address and a separate process.
Meanwhile a visitor elsewhere and a signed-in user behind the stranger's own address each repeatedly
load a page, call the API, and open a tab; the times are compared with those without the stranger.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks.instance import instance
from benchmarks.tab import CHAT, open_tab, sign_up

CONNECTIONS = 2_000
# Linux takes all of 127.0.0.0/8 for this machine; elsewhere there is one address only.
STRANGER = "127.0.0.1"
ELSEWHERE = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
# How many a stranger opens at a time.
AT_ONCE = 100
PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.2

_HALF_A_FORM = (
    "POST /api/session/sign-in HTTP/1.1\r\nHost: {host}\r\nContent-Length: 500\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n\r\nem"
)
_SLOW_HEADERS = "GET /login HTTP/1.1\r\nHost: {host}\r\nX-Slow: "
_SOCKET = (
    "GET /_event/?EIO=4&transport=websocket&token={token} HTTP/1.1\r\nHost: {host}\r\n"
    "Origin: http://{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
KINDS: Mapping[str, str] = {
    "half_forms": _HALF_A_FORM,
    "silent": "",
    "slow_headers": _SLOW_HEADERS,
    "half_open_sockets": _SOCKET,
}
Figures = dict[str, float]


@dataclass
class Noticed:
    """What a visitor noticed: how long each round took, and how many failed."""

    seconds: list[float] = field(default_factory=list[float])
    failed: int = 0

    def figures(self) -> Figures:
        ordered = sorted(self.seconds) or [0.0]
        return {
            "rounds": len(self.seconds),
            "failed": self.failed,
            "p50_ms": round(ordered[len(ordered) // 2] * 1000, 1),
            "max_ms": round(ordered[-1] * 1000, 1),
        }


def measure(connections: int, seconds: float) -> dict[str, Mapping[str, Figures | float]]:
    """Return, by kind of stranger, what the two users noticed and how many connections the stranger
    still held at the end; the key `nobody` is the run without a stranger."""
    with (
        tempfile.TemporaryDirectory() as folder,
        instance(Path(folder), workers=1, TAB_STATES="memory") as running,
    ):
        return asyncio.run(measured_at(running.url, connections, seconds))


async def measured_at(
    url: str, connections: int, seconds: float
) -> dict[str, Mapping[str, Figures | float]]:
    cookie = await sign_up(url, f"neighbor-{uuid4().hex[:12]}@example.com")
    await _noticed(url, cookie, 1.0)
    found: dict[str, Mapping[str, Figures | float]] = {
        "nobody": await _noticed(url, cookie, seconds)
    }
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, get_context("spawn")) as stranger:
        for kind, request in KINDS.items():
            holding = loop.run_in_executor(stranger, _hold, url, request, connections, seconds)
            noticed = await _noticed(url, cookie, seconds)
            found[kind] = {**noticed, "held": await holding}
            await _until_forgotten(url)
    return found


def _hold(url: str, request: str, connections: int, seconds: float) -> int:
    """Open connections and keep those that are accepted; returns how many are open after
    `seconds`."""
    return asyncio.run(_held(url, request, connections, seconds))


async def _held(url: str, request: str, connections: int, seconds: float) -> int:
    host, end = urlsplit(url).netloc, time.monotonic() + seconds
    gate = asyncio.Semaphore(AT_ONCE)
    still_open = 0

    async def one() -> None:
        nonlocal still_open
        # Connections that the server refuses are part of the measurement.
        with suppress(OSError, TimeoutError):
            async with gate, asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await _connect(url, STRANGER)
                writer.write(request.format(host=host, token=uuid4()).encode())
            try:
                async with asyncio.timeout_at(
                    asyncio.get_running_loop().time() + end - time.monotonic()
                ):
                    await reader.read()
            except TimeoutError:
                still_open += 1
            finally:
                writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(connections)))
    return still_open


async def _until_forgotten(url: str) -> None:
    """The next kind begins when a round is quick again."""
    async with asyncio.timeout(60):
        while True:
            with suppress(OSError, TimeoutError, EOFError):
                async with asyncio.timeout(1):
                    await _page(url, ELSEWHERE)
                    return


async def _noticed(url: str, cookie: str, seconds: float) -> dict[str, Figures]:
    async def visit() -> None:
        await _page(url, ELSEWHERE)

    async def work() -> None:
        # Behind the same address as the stranger.
        await _page(url, STRANGER, cookie)
        async with open_tab(url, cookie) as tab:
            await tab.until(lambda: tab.var(CHAT, "ready"), seconds=PATIENCE_SECONDS)

    visitor, worker = await asyncio.gather(_rounds(visit, seconds), _rounds(work, seconds))
    return {"visitor": visitor.figures(), "signed_in_neighbor": worker.figures()}


async def _rounds(round_: Callable[[], Awaitable[None]], seconds: float) -> Noticed:
    noticed, end = Noticed(), time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await round_()
        except Exception:  # noqa: BLE001 - any failure counts
            noticed.failed += 1
        else:
            noticed.seconds.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_SECONDS)
    return noticed


async def _page(url: str, address: str, cookie: str = "") -> None:
    """Load a page over a connection of its own. Raises EOFError when it isn't all there."""
    reader, writer = await _connect(url, address)
    try:
        path = "/chat" if cookie else "/login"
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nCookie: {cookie}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        if not answer.startswith(b"HTTP/1.1 200") or not answer.rstrip().endswith(b"</html>"):
            raise EOFError
    finally:
        writer.close()


async def _connect(url: str, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port, local_addr=(address, 0))
