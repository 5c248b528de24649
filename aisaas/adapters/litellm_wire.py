"""What LiteLLM's clients receive, seen before LiteLLM does.

Three things are known only here: that a provider is alive while it sends only comments or pings, which
make no chunk; that a refusal is one (LiteLLM drops OpenAI's `delta.refusal`, and reports Anthropic's
`refusal` as a content filter); and how long an answer is before it is parsed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import httpx

T = TypeVar("T")

# A completion of 128,000 tokens, each in a chunk of its own, is 40 MB.
MAX_BODY_BYTES = 64_000_000
MAX_LINE_BYTES = 1_000_000
# After its finish reason a provider sends the usage at once, and closes. If it does neither by then,
# the answer is complete.
FINISH_SECONDS = 3.0


class Wire:
    """What arrived for one call."""

    def __init__(self) -> None:
        # By the event loop's clock; None before the first byte.
        self.heard_at: float | None = None
        self.refused = False
        # The newest answer of the call.
        self.body: Body | None = None
        self._refusal = ""
        # Complete lines that were not taken yet, for those who take them.
        self._lines: list[bytes] | None = None
        # Parts of the incomplete line.
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, part: bytes) -> None:
        """Raises httpx.ReadError for a line that is too long: its parser would keep all of it in
        memory, and search it again with each new part."""
        self.heard_at = asyncio.get_running_loop().time()
        whole, newline, rest = part.rpartition(b"\n")
        if newline:
            lines = b"".join((*self._parts, whole)).split(b"\n")
            self._parts, self._length = [], 0
        else:
            lines = []
        self._parts.append(rest)
        self._length += len(rest)
        if self._length > MAX_LINE_BYTES:
            raise httpx.ReadError("a line is longer than any is")
        if self._lines is not None:
            self._lines += lines
        for line in lines:
            # The first chunk of a stream often says `"refusal":null`.
            if b'"refusal"' in line:
                self._look_for_refusal(line)

    def keep_lines(self) -> None:
        """From here on lines are kept until they are taken."""
        self._lines = []

    def take_lines(self) -> list[bytes]:
        """The complete lines that arrived since the last time."""
        taken, self._lines = self._lines or [], []
        return taken

    def take_rest(self) -> bytes:
        """The end of an answer whose last line isn't ended."""
        rest, self._parts, self._length = b"".join(self._parts), [], 0
        return rest

    def refusal(self) -> str:
        """The unread part of a provider's refusal."""
        said, self._refusal = self._refusal, ""
        return said

    def _look_for_refusal(self, line: bytes) -> None:
        try:
            event: Any = json.loads(line.removeprefix(b"data:"))
        except ValueError:
            return
        for delta in _deltas(event):
            piece = delta.get("refusal")
            if isinstance(piece, str) and piece:
                self.refused = True
                self._refusal += piece
            if delta.get("stop_reason") == "refusal":
                self.refused = True


def _deltas(event: Any) -> list[dict[str, Any]]:
    """Anthropic's deltas, or OpenAI's of the first choice."""
    if not isinstance(event, dict):
        return []
    found = cast("dict[str, Any]", event)
    choices = found.get("choices")
    first: Any = cast("list[Any]", choices)[:1] if isinstance(choices, list) else []
    choice = cast("dict[str, Any]", first[0]) if first and isinstance(first[0], dict) else {}
    deltas = (found.get("delta"), choice.get("delta"))
    return [cast("dict[str, Any]", delta) for delta in deltas if isinstance(delta, dict)]


# The wire of this task's call: LiteLLM has no way to pass it to a transport.
wire: ContextVar[Wire | None] = ContextVar("wire", default=None)


class Reading:
    """Reads a stream, and ends it when the provider is silent after its finish reason."""

    def __init__(self, of: Wire, finished: Callable[[], bool]) -> None:
        self._wire = of
        self._finished = finished
        self._limit: asyncio.Timeout | None = None
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._timer = self._loop.call_later(FINISH_SECONDS, self._look)

    async def next(self, chunk: Awaitable[T]) -> T | None:
        """The next chunk; None at the end."""
        self._limit = limit = asyncio.timeout(None)
        try:
            async with limit:
                return await chunk
        except StopAsyncIteration:
            return None
        except TimeoutError:
            if limit.expired():
                return None
            raise
        finally:
            self._limit = None

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        silent = now - (self._wire.heard_at or self._began)
        if silent < FINISH_SECONDS or self._limit is None or not self._finished():
            wait = FINISH_SECONDS - silent if silent < FINISH_SECONDS else FINISH_SECONDS
            self._timer = self._loop.call_later(wait, self._look)
            return
        self._limit.reschedule(now)


class Body(httpx.AsyncByteStream):
    """An answer's body. It reports to its call what arrived, and fails when it is longer than any is."""

    def __init__(self, request: httpx.Request, response: httpx.Response, of: Wire) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self.path = request.url.path
        headers = response.headers
        # A compressed body is left to the client, which decompresses it.
        self.is_event_stream = (
            response.is_success
            and headers.get("content-type", "").startswith("text/event-stream")
            and headers.get("content-encoding", "identity") == "identity"
        )
        self._stream = response.stream
        self._wire = of

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self.parts()) as parts:
            async for part in parts:
                yield part

    async def parts(self) -> AsyncGenerator[bytes]:
        """The body as it arrives."""
        total = 0
        async for part in self._stream:
            total += len(part)
            if total > MAX_BODY_BYTES:
                raise httpx.ReadError("the answer is longer than any answer is")
            self._wire.feed(part)
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class _WatchedTransport(httpx.AsyncBaseTransport):
    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    @property
    def client(self) -> Any:
        """The session behind it. LiteLLM looks there whether an answer is still being read before it
        closes a client that it no longer keeps, some ten minutes after it made it."""
        return getattr(self._transport, "client", None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        of = wire.get() or Wire()
        response.stream = of.body = Body(request, response, of)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


def watch_every_answer() -> None:
    """All of LiteLLM's clients get their transport from one place; a test checks that."""
    handlers: Any = importlib.import_module("litellm.llms.custom_httpx.http_handler")
    made = handlers.AsyncHTTPHandler.create_async_transport

    def watched(*args: Any, **kwargs: Any) -> httpx.AsyncBaseTransport:
        return _WatchedTransport(made(*args, **kwargs) or httpx.AsyncHTTPTransport())

    if not getattr(made, "is_watched", False):
        watched.is_watched = True  # pyright: ignore[reportFunctionMemberAccess]
        handlers.AsyncHTTPHandler.create_async_transport = staticmethod(watched)
