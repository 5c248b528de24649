"""Each request gets an ID, which its log lines and the response's `x-request-id` header carry.

An ID that a proxy or a script sends is kept if it has the right form; it is only used as a name.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisaas.observe import context

HEADER = "x-request-id"
_FORM = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")


class RequestIds:
    """ASGI middleware around everything. Events on a web socket get an ID each, elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _FORM.match(given) else context.new_request()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with context.entered(request=request_id):
            await self._app(scope, receive, send_with_id)
