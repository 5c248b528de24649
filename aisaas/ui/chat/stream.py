"""A running reply on its way to one tab.

A state delta carries the whole of a changed var. So the var `s` holds a short window of the text,
the newest flush, with its offset; the browser keeps the whole and merges by offset. It requests
missing text (`fill_gap`). Wire bytes are linear in the reply.

A reader fills the outbox, and what is in it goes out at its own pace: awaiting the wire for each
token collapses under load. Frames go out by `EventContext.emit_delta`, without the state's lock;
that is semi-internal to reflex, and used nowhere else. Invariant: nothing here is needed to know
the text again; a tab that comes back reads it from the domain.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import reflex as rx
from reflex_base.constants.state import FIELD_MARKER
from reflex_base.event.context import EventContext
from reflex_base.registry import RegistrationContext

from aisaas.chat.models import Segment
from aisaas.ui import notices, payloads
from aisaas.ui.chat.view import stream_key, thinking_key
from aisaas.ui.session import principal_of
from aisaas.wiring import services


@dataclasses.dataclass(frozen=True)
class Pace:
    """When to flush. Seconds, characters and bytes.

    A frame goes out as soon as text arrives `gap` after the one before, if it can be paid for: each
    character of text brings `budget` bytes, and a frame costs `frame` bytes besides its text. Text
    that came earlier waits for what comes next, `grace` at most, so that frames keep step with the
    reply's own flushes; two clocks that beat against each other would add up their waits.
    Slower text waits until there is enough of it, but never longer than `patience`.
    """

    gap: float = 0.115
    grace: float = 0.05
    budget: float = 7.4
    frame: float = 131.0
    patience: float = 1.0
    # On a loaded event loop frames are rarer and larger: `stretch` times what a turn of it takes.
    stretch: float = 4.0
    slowest: float = 0.5


PACE = Pace()
# How often an idle follower checks that its tab is still there.
IDLE_SECONDS = 1.0


class Outbox:
    """What has been read and not yet sent, and when it may go."""

    def __init__(self, offset: int, pace: Pace = PACE) -> None:
        self._pace = pace
        self._start = offset
        self._pending = ""
        self._since = 0.0
        self._sent_at: float | None = None
        self._gap = pace.gap
        self._saved = 0.0

    @property
    def end(self) -> int:
        return self._start + len(self._pending)

    def put(self, segment: Segment, now: float) -> None:
        if segment.offset > self.end:
            # A gap on our side: restart after it; the browser will request the missing part.
            self._start, self._pending = segment.offset, ""
        fresh = segment.text[self.end - segment.offset :]
        if fresh and not self._pending:
            self._since = now
        self._pending += fresh

    def due_in(self, now: float, *, fresh: bool = False) -> float | None:
        """Seconds until the next frame, 0 for now; None when nothing is pending.

        `fresh` when text has arrived just now.
        """
        if not self._pending:
            return None
        if self._sent_at is None:
            return 0.0
        due = self._sent_at + self._gap
        if self._left() < 0:
            due = max(due, self._since + self._pace.patience)
        elif not fresh or due > now:
            due += self._pace.grace
        return max(due - now, 0.0)

    def slow_down(self, turn: float) -> None:
        """Stretch the gap to what a turn of the event loop takes; it recovers step by step."""
        wanted = max(self._gap * 0.8, turn * self._pace.stretch)
        self._gap = min(max(wanted, self._pace.gap), self._pace.slowest)

    def take(self, now: float) -> Segment:
        """The next window: all that is pending."""
        window = Segment(self._start, self._pending)
        # Neither debts nor riches add up: a frame pays for itself and at most one more.
        self._saved = min(max(self._left(), 0.0), self._pace.frame)
        self._sent_at = now
        self._start, self._pending = self.end, ""
        return window

    def _left(self) -> float:
        """Bytes of the budget that remain after sending the pending text."""
        return self._saved + (self._pace.budget - 1) * len(self._pending) - self._pace.frame

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
    try:
        while wanted():
            fresh = arrived.is_set()
            arrived.clear()
            wait = outbox.due_in(loop.time(), fresh=fresh)
            if reader.done() and not outbox.empty:
                wait = 0.0
            if wait == 0.0:
                started = loop.time()
                await send(outbox.take(started))
                outbox.slow_down(loop.time() - started)
                continue
            if reader.done():
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS if wait is None else wait):
                    await arrived.wait()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    if not reader.cancelled() and (error := reader.exception()) is not None:
        raise error


class Tail(rx.State):
    """The newest windows of what a running reply says and thinks, and answers to gaps: [key, offset,
    text]. The key of thinking ends with a mark."""

    s: list[Any] = ["", 0, ""]  # noqa: RUF012
    t: list[Any] = ["", 0, ""]  # noqa: RUF012
    g: list[Any] = ["", 0, ""]  # noqa: RUF012

    @rx.event
    @notices.handle_errors
    async def fill_gap(self, message_id: str, offset: int, thinking: bool = False) -> None:
        wanted, start = payloads.identifier(message_id), payloads.offset(offset)
        principal, chat = await principal_of(self), services().chat
        if thinking is True:
            missed = await chat.thinking_from(principal, wanted, start)
            self.g = [thinking_key(wanted), missed.offset, missed.text]
            return
        missed = await chat.text_from(principal, wanted, start)
        self.g = [stream_key(wanted), missed.offset, missed.text]


# The follower of each tab, by client token: a newer one takes over.
_following: dict[str, object] = {}


@dataclasses.dataclass(frozen=True)
class Source:
    """One text of a reply, from `offset` on."""

    segments: AsyncIterator[Segment]
    offset: int


async def relay_to_tab(
    segments: AsyncIterator[Segment],
    message_id: object,
    offset: int,
    thinking: Source | None = None,
) -> bool:
    """Relay to the tab whose event is being handled. False when the tab left or follows another."""
    context, me = EventContext.get(), object()
    token = context.token
    _following[token] = me

    def wanted() -> bool:
        return _following.get(token) is me and has_socket(token)

    async def send_as(var: str, key: str, source: Source) -> None:
        async def send(window: Segment) -> None:
            frame = {f"{var}{FIELD_MARKER}": [key, window.offset, window.text]}
            await context.emit_delta({Tail.get_full_name(): frame})

        await relay(source.segments, send, offset=source.offset, wanted=wanted)

    relays = [send_as("s", stream_key(message_id), Source(segments, offset))]
    if thinking is not None:
        relays.append(send_as("t", thinking_key(message_id), thinking))
    tasks = [asyncio.create_task(each) for each in relays]
    try:
        await asyncio.gather(*tasks)
        return wanted()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if _following.get(token) is me:
            del _following[token]


def has_socket(token: str) -> bool:
    """A tab that went away comes back with `load`, which follows again."""
    namespace = RegistrationContext.get().app.event_namespace
    return namespace is None or token in namespace.token_to_sid
