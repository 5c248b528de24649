"""Connections that say nothing: the oldest of an address are closed, those in use are not."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from aisaas.api import connection_limits
from aisaas.api.connection_limits import BUSY, MOST_QUIET_SECONDS, QuietConnections


class Server:
    """Accepts, and has nothing to say."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo
        self._listener = undo.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._listener.getsockname()[1]

    def connected(self, address: str = "127.0.0.1") -> socket.socket:
        client = self._undo.enter_context(
            socket.create_connection(("127.0.0.1", self.port), source_address=(address, 0))
        )
        self._undo.enter_context(self._listener.accept()[0])
        client.settimeout(10)
        return client


@pytest.fixture
def server() -> Generator[Server]:
    with ExitStack() as undo:
        yield Server(undo)


def is_closed(client: socket.socket) -> bool:
    """Without waiting: what was closed has been closed before `look` returned."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


async def test_beyond_the_share_the_oldest_are_closed(server: Server) -> None:
    quiet = QuietConnections(server.port, per_address=3)
    first = [server.connected() for _ in range(3)]
    assert await quiet.look() == 0
    later = [server.connected() for _ in range(2)]
    assert await quiet.look() == 2
    closed = [is_closed(client) for client in (*first, *later)]
    assert sum(closed[:3]) == 2
    assert closed[3:] == [False, False]


async def test_each_address_has_a_share_of_its_own(server: Server) -> None:
    quiet = QuietConnections(server.port, per_address=2)
    stranger = [server.connected("127.0.0.9") for _ in range(6)]
    others = [server.connected("127.0.0.10") for _ in range(2)]
    # They may all be about to ask for something.
    assert await quiet.look() == 0
    assert await quiet.look() == 4
    assert sum(map(is_closed, stranger)) == 4
    assert not any(map(is_closed, others))


async def test_a_connection_with_a_request_or_a_web_socket_stays(server: Server) -> None:
    quiet = QuietConnections(server.port, per_address=1)
    used = [server.connected() for _ in range(3)]
    with ExitStack() as asking:
        for client in used:
            asking.enter_context(BUSY.holding(client.getsockname()))
        silent = server.connected()
        assert await quiet.look() == 0
    # When they are done, they are as quiet as the silent one, which now has been so for longest.
    assert await quiet.look() == 3
    assert is_closed(silent)


async def test_after_a_while_a_quiet_connection_is_closed_also_within_the_share(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = QuietConnections(server.port, per_address=8)
    now = [1000.0]
    monkeypatch.setattr(connection_limits.time, "monotonic", lambda: now[0])
    old = server.connected()
    assert await quiet.look() == 0
    now[0] += MOST_QUIET_SECONDS
    new = server.connected()
    assert await quiet.look() == 0
    now[0] += 1
    assert await quiet.look() == 1
    assert (is_closed(old), is_closed(new)) == (True, False)


async def test_connections_of_our_own_to_others_are_left_alone(server: Server) -> None:
    with ExitStack() as undo:
        other = Server(undo)
        clients = [other.connected() for _ in range(5)]
        assert await QuietConnections(server.port, per_address=1).look() == 0
        assert not any(map(is_closed, clients))
