"""What a request may cost before a route sees it: its size, its time and its share.

A body is read here, whole, within its limit and its deadline, so that no route ever waits for one.
Unfinished bodies of one address have a share, and the oldest gives way: a stranger who sends half a
form a hundred times ends their own, and a whole form isn't kept waiting. Whole requests of one address
have a rate. Requests above it wait, the newest is served first, and when too many wait, the oldest is
refused. Each refusal closes its connection. A response that the client doesn't read is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisaas.accounts.pictures import MAX_BYTES
from aisaas.api.client_address import address_in
from aisaas.api.connection_limits import BUSY
from aisaas.api.shares import Shares, Turns
from aisaas.observe.metrics import REFUSED_EARLY

MAX_HEADERS = 32_768
MAX_TARGET = 8_192
# Bytes that a multipart form needs around a file.
ENVELOPE = 4_096
MAX_FORM = 16_384
MAX_WEBHOOK = 256 * 1024
FORMS = "/api/"
WEBHOOKS = "/api/webhooks/"
BODIES: Mapping[str, int] = {
    "/api/account/picture": MAX_BYTES + ENVELOPE,
    WEBHOOKS: MAX_WEBHOOK,
    FORMS: MAX_FORM,
}
# Forms come within one round trip; a picture over a slow line takes longer.
BODY_SECONDS = 10.0
SLOWEST_BYTES_A_SECOND = 16_384
SEND_SECONDS = 30.0
UNFINISHED_PER_ADDRESS = 64
# Far above what the pages of an office behind one address ask for. Stripe has few addresses and sends
# many webhooks, so webhooks have no rate; without a valid signature they cost little.
REQUESTS_PER_SECOND = 200.0
REQUESTS_AT_ONCE = 1_000.0
REQUESTS_WAITING = 64

TOO_LARGE = "That is too large."
TOO_SLOW = "That took too long to arrive. Try again."
GAVE_WAY = "Too many unfinished requests come from your network. Try again."
TOO_MANY = "Too many requests come from your network. Try again in a moment."
TOO_LONG = "That address is too long."
HEADERS_TOO_LARGE = "The headers of that request are too large."


class _AnswerNotTakenError(Exception):
    """The client doesn't read its response."""


class _Unfinished:
    """A body that is on its way."""

    def __init__(self) -> None:
        self.give_way = asyncio.get_running_loop().create_future()


class RequestLimits:
    """ASGI middleware around everything.

    Args:
        trusted_proxies: our proxies, trusted to name the client's address.
        requests: the rate of each address.
        unfinished_per_address: request bodies one address may be sending at once.
        body_seconds: for a form; larger bodies get more.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted_proxies: int,
        requests: Turns | None = None,
        unfinished_per_address: int = UNFINISHED_PER_ADDRESS,
        body_seconds: float = BODY_SECONDS,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._app = app
        self._trusted_proxies = trusted_proxies
        self._requests = requests or Turns(REQUESTS_PER_SECOND, REQUESTS_AT_ONCE, REQUESTS_WAITING)
        self._unfinished: Shares[_Unfinished] = Shares(unfinished_per_address)
        self._body_seconds = body_seconds
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        with BUSY.holding(scope.get("client")):
            if scope["type"] != "http":
                await self._app(scope, receive, send)
            elif refusal := _head_refused(scope):
                await refusal(scope, receive, send)
            else:
                await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = address_in(scope, self._trusted_proxies)
        if not scope["path"].startswith(WEBHOOKS) and not await self._requests.take(address):
            refusal = _refused(scope, 429, TOO_MANY, "requests_too_many")
            await refusal(scope, receive, send)
            return
        if _has_body(scope):
            body = await self._body(scope, address, receive)
            if body is None:
                return
            if isinstance(body, Response):
                await body(scope, receive, send)
                return
            receive = _replayed(body, receive)
        try:
            await self._app(scope, receive, self._within(send))
        except _AnswerNotTakenError:
            REFUSED_EARLY.labels("answer_not_taken").inc()

    async def _body(self, scope: Scope, address: str, receive: Receive) -> bytes | Response | None:
        """The whole body, or the refusal; None when the client is gone."""
        limit = body_limit(scope["path"])
        length = Headers(scope=scope).get("content-length")
        # Python converts no number of thousands of digits.
        if length is not None and (not length.isdecimal() or int(length[:20]) > limit):
            return _refused(scope, 413, TOO_LARGE, "body_too_large")
        unfinished = _Unfinished()
        if oldest := self._unfinished.take(address, unfinished):
            oldest.give_way.set_result(None)
        reading = asyncio.ensure_future(_collect(receive, limit))
        seconds = self._body_seconds + int((length or "0")[:20]) / SLOWEST_BYTES_A_SECOND
        try:
            await asyncio.wait(
                {reading, unfinished.give_way},
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if reading.done():
                return reading.result()
        except _BodyTooLargeError:
            return _refused(scope, 413, TOO_LARGE, "body_too_large")
        finally:
            reading.cancel()
            self._unfinished.release(address, unfinished)
        if unfinished.give_way.done():
            return _refused(scope, 503, GAVE_WAY, "body_gave_way")
        return _refused(scope, 408, TOO_SLOW, "body_too_slow")

    def _within(self, send: Send) -> Send:
        async def send_within(message: Message) -> None:
            try:
                async with asyncio.timeout(self._send_seconds):
                    await send(message)
            except TimeoutError as error:
                raise _AnswerNotTakenError from error

        return send_within


class _BodyTooLargeError(Exception):
    """Its header declared less, or nothing."""


async def _collect(receive: Receive, limit: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise _BodyTooLargeError
        if not message.get("more_body", False):
            return bytes(body)


def body_limit(path: str) -> int:
    """Most bytes a body sent to `path` may have; most paths accept none."""
    return next((limit for start, limit in BODIES.items() if path.startswith(start)), 0)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _head_refused(scope: Scope) -> Response | None:
    if len(scope["raw_path"] if scope.get("raw_path") else scope["path"]) > MAX_TARGET:
        return _refused(scope, 414, TOO_LONG, "target_too_long")
    if len(scope["query_string"]) > MAX_TARGET:
        return _refused(scope, 414, TOO_LONG, "target_too_long")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
        return _refused(scope, 431, HEADERS_TOO_LARGE, "headers_too_large")
    return None


def _refused(scope: Scope, status: int, message: str, reason: str) -> Response:
    REFUSED_EARLY.labels(reason).inc()
    # The rest of the body isn't read any more.
    headers = {"connection": "close"}
    if status in {429, 503}:
        headers["retry-after"] = "1"
    if "application/json" in Headers(scope=scope).get("accept", ""):
        body = {"code": "form_refused", "message": message}
        return JSONResponse(body, status, headers=headers)
    return PlainTextResponse(message, status, headers=headers)


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def once_more() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once_more
