"""Each request gets a name, which its log lines carry and its answer tells.

A name that came along, from a proxy or a script, is kept if it looks like one: it only ever names.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisaas.observe import context

HEADER = "x-request-id"
_NAME = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")


class RequestIds:
    """ASGI middleware around everything. What comes over a socket is named event by event."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if _NAME.match(given) else context.new_request()

        async def send_with_name(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        with context.entered(request=name):
            await self._app(scope, receive, send_with_name)
