"""A running reply on its way to one tab.

A state delta carries the whole of a changed var, and React may skip one of two deltas that arrive
together. So the var `s` holds a short window of the text with its offset: the newest flush and a
little of what came before it; the browser keeps the whole and merges by offset. What it misses
nevertheless it asks for (`fill_gap`). Wire bytes are linear in the reply.

A reader fills the outbox and a timer empties it: awaiting the wire for each token collapses under
load. Frames go out by `EventContext.emit_delta`, without the state's lock; that is semi-internal
to reflex, and used nowhere else. Invariant: nothing here is needed to know the text again; a tab
that comes back reads it from the domain.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import reflex as rx
from reflex_base.constants.state import FIELD_MARKER
from reflex_base.event.context import EventContext
from reflex_base.registry import RegistrationContext

from aisaas.chat.models import Segment
from aisaas.ui import notices, payloads
from aisaas.ui.chat.view import stream_key
from aisaas.ui.session import principal_of
from aisaas.wiring import services


@dataclasses.dataclass(frozen=True)
class Pace:
    """When to flush. Seconds and characters.

    A frame costs about 120 bytes besides its text, and most text is sent twice, so flushes of
    fewer than `least` characters would cost more than seven times what they bring. Frames that
    follow each other within `overlap` seconds may be batched by React, so they repeat each other.
    """

    tick: float = 0.1
    grain: float = 0.002
    enough: int = 48
    age: float = 0.2
    least: int = 28
    patience: float = 1.0
    overlap: float = 0.3
    slowest: float = 0.5


PACE = Pace()
OVERLAP_FLUSHES = 2
OVERLAP_CHARS = 400


class Outbox:
    """What has been read and not yet sent, and the tail of what was sent."""

    def __init__(self, offset: int, pace: Pace = PACE) -> None:
        self._pace = pace
        self._start = offset
        self._pending = ""
        self._since = 0.0
        self._sent: deque[tuple[float, str]] = deque(maxlen=OVERLAP_FLUSHES)

    @property
    def end(self) -> int:
        return self._start + len(self._pending)

    def put(self, segment: Segment, now: float) -> None:
        if segment.offset > self.end:
            # A hole on our side: start anew behind it; the browser will ask for what is between.
            self._start, self._pending = segment.offset, ""
            self._sent.clear()
        fresh = segment.text[self.end - segment.offset :]
        if fresh and not self._pending:
            self._since = now
        self._pending += fresh

    def due(self, now: float) -> bool:
        if not self._pending:
            return False
        age, size = now - self._since, len(self._pending)
        return (
            size >= self._pace.enough
            or (age >= self._pace.age and size >= self._pace.least)
            or age >= self._pace.patience
            or not self._sent
        )

    def wait(self, now: float) -> float:
        """Seconds until it is worth looking again: a tick, or less when what is pending ages."""
        rest = self._pace.age - (now - self._since)
        if not self._pending or rest <= 0:
            return self._pace.tick
        return min(rest + self._pace.grain, self._pace.tick)

    def take(self, now: float) -> Segment:
        """The next window: what was sent a moment ago, and all that is pending."""
        recent = [text for at, text in self._sent if now - at <= self._pace.overlap]
        before = "".join(recent)[-OVERLAP_CHARS:]
        window = Segment(self._start - len(before), before + self._pending)
        self._sent.append((now, self._pending))
        self._start, self._pending = self.end, ""
        return window

    @property
    def empty(self) -> bool:
        return not self._pending


async def relay(
    segments: AsyncIterator[Segment],
    send: Callable[[Segment], Awaitable[None]],
    *,
    offset: int = 0,
    wanted: Callable[[], bool] = lambda: True,
    pace: Pace = PACE,
) -> None:
    """Send what `segments` brings, in windows, until it ends or is no longer `wanted`."""
    loop = asyncio.get_running_loop()
    outbox = Outbox(offset, pace)
    arrived = asyncio.Event()

    async def read() -> None:
        async for segment in segments:
            outbox.put(segment, loop.time())
            arrived.set()

    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: arrived.set())
    slower = 0.0
    try:
        await arrived.wait()
        while wanted():
            now = loop.time()
            if outbox.due(now) or (reader.done() and not outbox.empty):
                await send(outbox.take(now))
            if reader.done():
                break
            started, interval = loop.time(), max(outbox.wait(now), slower)
            await asyncio.wait((reader,), timeout=interval)
            # A loop that wakes us late is loaded: fewer, larger frames.
            late = loop.time() - started - interval
            slower = min(pace.slowest, max(slower * 0.8, late * 4))
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    if not reader.cancelled() and (error := reader.exception()) is not None:
        raise error


class Tail(rx.State):
    """The newest window of a running reply, and answers to gaps: [key, offset, text]."""

    s: list[Any] = ["", 0, ""]  # noqa: RUF012
    g: list[Any] = ["", 0, ""]  # noqa: RUF012

    @rx.event
    @notices.shown
    async def fill_gap(self, message_id: str, offset: int) -> None:
        wanted = payloads.identifier(message_id)
        principal = await principal_of(self)
        missed = await services().chat.text_from(principal, wanted, payloads.offset(offset))
        self.g = [stream_key(wanted), missed.offset, missed.text]


# The follower of each tab, by client token: a newer one takes over.
_following: dict[str, object] = {}


async def relay_to_tab(segments: AsyncIterator[Segment], message_id: object, offset: int) -> bool:
    """Relay to the tab whose event is being handled. False when the tab left or follows another."""
    context, me = EventContext.get(), object()
    token, key = context.token, stream_key(message_id)
    _following[token] = me

    def wanted() -> bool:
        return _following.get(token) is me and _has_socket(token)

    async def send(window: Segment) -> None:
        frame = {f"s{FIELD_MARKER}": [key, window.offset, window.text]}
        await context.emit_delta({Tail.get_full_name(): frame})

    try:
        await relay(segments, send, offset=offset, wanted=wanted)
        return wanted()
    finally:
        if _following.get(token) is me:
            del _following[token]


def _has_socket(token: str) -> bool:
    """A tab that went away comes back with `load`, which follows anew."""
    namespace = RegistrationContext.get().app.event_namespace
    return namespace is None or token in namespace.token_to_sid
