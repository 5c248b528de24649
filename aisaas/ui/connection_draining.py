"""A stopping process closes its tabs' connections, so that they reconnect to another process.

From SIGTERM on: a tab whose reply runs here stays until the reply ends; every other connection is
closed as "service restart", which a page treats as a lost connection and reopens; and no new
connection is accepted, so the page retries until another process answers. Its requests wait in the
page meanwhile. HTTP keep-alive connections are closed after their response, since the next request
would come here again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs

from reflex_base.constants import Endpoint
from reflex_base.event.context import EventContext
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisaas.api.serving import Provide

# The web socket's own code for it.
SERVICE_RESTART = 1012
LOOK_SECONDS = 0.1
# All at once would be all at once at the next process too.
SHARE_A_LOOK = 0.1
LEAST_A_LOOK = 20
SAID = "The server is restarting."

# Tabs with something that only this process has to give, by token.
_staying: Counter[str] = Counter()


class _Connection:
    """A tab's web socket. Setting `end` ends it as if the tab had gone."""

    def __init__(self, token: str, receive: Receive, send: Send) -> None:
        self.token = token
        self.end = asyncio.Event()
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = asyncio.ensure_future(self._receive())
        end = asyncio.ensure_future(self.end.wait())
        try:
            await asyncio.wait({message, end}, return_when=asyncio.FIRST_COMPLETED)
            if message.done():
                return message.result()
        finally:
            message.cancel()
            end.cancel()
        # The client may have disconnected already.
        with suppress(RuntimeError, OSError):
            await self._send({"type": "websocket.close", "code": SERVICE_RESTART})
        return {"type": "websocket.disconnect", "code": SERVICE_RESTART}


_open: set[_Connection] = set()


@contextmanager
def keep_connected(*, while_it: bool) -> Generator[None]:
    """Inside the block the tab whose event is being handled is not let go, if `while_it`."""
    token = EventContext.get().token if while_it else ""
    _staying[token] += 1
    try:
        yield
    finally:
        _staying[token] -= 1
        if not _staying[token]:
            del _staying[token]


async def drain_connections(services: Provide) -> None:
    """Runs for as long as the app does."""
    await services().draining.wait()
    while True:
        idle = [connection for connection in _open if connection.token not in _staying]
        for connection in idle[: max(LEAST_A_LOOK, int(len(_open) * SHARE_A_LOOK))]:
            connection.end.set()
        await asyncio.sleep(LOOK_SECONDS)


class ConnectionDraining:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, services: Provide) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = self._services().draining.begun if scope["type"] != "lifespan" else False
        if scope["type"] == "websocket":
            await (_refuse(scope, send) if leaving else self._connected(scope, receive, send))
        elif leaving and scope["type"] == "http":
            asked = scope["path"] == str(Endpoint.PING)
            app = PlainTextResponse(SAID, 503) if asked else self._app
            await app(scope, receive, _for_the_last_time(scope, send))
        else:
            await self._app(scope, receive, send)

    async def _connected(self, scope: Scope, receive: Receive, send: Send) -> None:
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        connection = _Connection(tokens[0], receive, send)
        _open.add(connection)
        try:
            await self._app(scope, connection.receive, send)
        finally:
            _open.discard(connection)


def _for_the_last_time(scope: Scope, send: Send) -> Send:
    """The same, and the connection ends with the answer."""

    async def send_and_end(message: Message) -> None:
        if message["type"] == "http.response.start" and scope["http_version"].startswith("1"):
            MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    return send_and_end


async def _refuse(scope: Scope, send: Send) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": SERVICE_RESTART})
        return
    start: Message = {"type": "websocket.http.response.start", "status": 503, "headers": []}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": SAID.encode()})
