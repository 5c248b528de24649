"""Limits quiet connections per address too: the oldest are closed.

Granian accepts all connections, and shows us one only once it has a request's headers. So once a
second the process looks at its own descriptors: those connected to our port with neither a request
being answered nor a web socket are quiet (silent, slow with their headers, kept for another request,
or slow to read a response). Behind a proxy of ours all connections are the proxy's, which has limits
of its own (`deploy/`), and nothing is closed here.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisaas.api.client_address import counted
from aisaas.observe.metrics import REFUSED_EARLY

Peer = tuple[str, int]
LOOK_SECONDS = 1.0
# A file of the pages takes that long on a line of a few kilobytes a second.
MOST_QUIET_SECONDS = 120.0
DESCRIPTORS = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"


class _Busy:
    """The connections with a request that is being answered, or a web socket, by their other end."""

    def __init__(self) -> None:
        self._held: Counter[Peer] = Counter()
        self._until: dict[Peer, float] = {}

    @contextmanager
    def holding(self, client: Sequence[Any] | None) -> Generator[None]:
        """`client` as ASGI has it: host and port, or None for a Unix socket."""
        if not client:
            yield
            return
        peer: Peer = (client[0], client[1])
        self._held[peer] += 1
        try:
            yield
        finally:
            self._held[peer] -= 1
            if not self._held[peer]:
                del self._held[peer]
                self._until[peer] = time.monotonic()

    def now(self, peer: Peer) -> bool:
        return peer in self._held

    def ended(self) -> dict[Peer, float]:
        """When requests ended, since the last call."""
        ended, self._until = self._until, {}
        return ended


BUSY = _Busy()


@dataclass(frozen=True, slots=True)
class _Quiet:
    since: float
    address: str
    peer: Peer


class QuietConnections:
    """Closes quiet connections beyond the share of their address, the oldest first.

    Args:
        port: of this process, as its connections see it.
        per_address: how many of one address may be quiet at once.
    """

    def __init__(self, port: int, per_address: int) -> None:
        self._port = port
        self._per_address = per_address
        self._since: dict[Peer, float] = {}

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # Few descriptors can't be too many connections, and looking at each takes a while.
            if _open_descriptors() > self._per_address or self._since:
                await self.look()

    async def look(self) -> int:
        """Close what is too much; returns how many."""
        open_here = await asyncio.to_thread(_connections, self._port)
        too_many = self._too_many(open_here, time.monotonic())
        closed = await asyncio.to_thread(_close, self._port, too_many) if too_many else 0
        REFUSED_EARLY.labels("quiet_connection").inc(closed)
        return closed

    def _too_many(self, peers: Iterable[Peer], now: float) -> set[Peer]:
        ended = BUSY.ended()
        known, self._since = self._since, {}
        by_address: dict[str, list[_Quiet]] = {}
        for peer in peers:
            if BUSY.now(peer):
                continue
            since = self._since[peer] = ended.get(peer, known.get(peer, now))
            quiet = _Quiet(since, counted(peer[0]), peer)
            by_address.setdefault(quiet.address, []).append(quiet)
        found: set[Peer] = set()
        for quiets in by_address.values():
            quiets.sort(key=lambda quiet: quiet.since)
            too_many = quiets[: max(0, len(quiets) - self._per_address)]
            # One that is seen for the first time may be about to ask, and has until the next look.
            found |= {quiet.peer for quiet in too_many if quiet.since < now}
            found |= {q.peer for q in quiets if now - q.since > MOST_QUIET_SECONDS}
        return found


def _open_descriptors() -> int:
    return sum(1 for _ in Path(DESCRIPTORS).iterdir())


def _sockets(port: int) -> Generator[tuple[socket.socket, Peer]]:
    """The connections to `port`, each by a descriptor of our own: the server may close its own and
    open another of the same number at any time."""
    for name in sorted((path.name for path in Path(DESCRIPTORS).iterdir()), key=int):
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(
                socket.AF_INET, socket.SOCK_STREAM, fileno=os.dup(int(name))
            ) as mine:
                here, there = mine.getsockname(), mine.getpeername()
                if isinstance(here, tuple) and here[1] == port and isinstance(there, tuple):
                    yield mine, (there[0], there[1])


def _connections(port: int) -> list[Peer]:
    return [peer for _, peer in _sockets(port)]


def _close(port: int, peers: set[Peer]) -> int:
    closed = 0
    for connection, peer in _sockets(port):
        # It may have sent a request in the meantime.
        if peer in peers and not BUSY.now(peer):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
                closed += 1
    return closed
