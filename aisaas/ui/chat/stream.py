"""A running reply on its way to one tab.

A state delta carries the whole of a changed var. So the var `s` holds a short window of the text,
what the last tick has shown, with its offset; the browser keeps the whole and merges by offset. It
requests missing text (`fill_gap`). Wire bytes are linear in the reply.

The reply's own tick sets the pace. A follower that comes late finds all that came meanwhile in one
segment, so a busy process sends fewer and larger frames. Frames go to the socket without the state's
lock. Invariant: nothing here is needed to know the text again; a tab that comes back reads it from
the domain.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import reflex as rx
from reflex_base.constants.state import FIELD_MARKER
from reflex_base.event.context import EventContext

from aisaas.chat.models import Segment
from aisaas.ui import notices, payloads
from aisaas.ui.chat.view import stream_key, thinking_key
from aisaas.ui.events import NAMESPACE
from aisaas.ui.reflex_patches import frames
from aisaas.ui.session import principal_of
from aisaas.wiring import services

# How often a follower checks that its tab is still there.
LOOK_SECONDS = 1.0


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


async def relay_to_tab(
    said: AsyncIterator[Segment], thinking: AsyncIterator[Segment], message_id: object
) -> bool:
    """Relay what a reply says and thinks to the tab whose event is being handled. False when the tab
    left, which comes back with a load, or follows another."""
    context, me = EventContext.get(), object()
    token = context.token
    _following[token] = me

    def wanted() -> bool:
        return _following.get(token) is me and frames.has_socket(token)

    relays = [
        asyncio.create_task(_relay(said, context, "s", stream_key(message_id))),
        asyncio.create_task(_relay(thinking, context, "t", thinking_key(message_id))),
    ]
    pending = set(relays)
    try:
        while pending and wanted():
            done, pending = await asyncio.wait(
                pending, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_EXCEPTION
            )
            for relay in done:
                relay.result()
        return wanted()
    finally:
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        if _following.get(token) is me:
            del _following[token]


async def _relay(
    segments: AsyncIterator[Segment], context: EventContext, var: str, key: str
) -> None:
    """Send each segment as a frame of the var. Where Reflex has to find the tab, it does."""
    before, after = frame_around(var, key)
    async for segment in segments:
        socket = frames.socket_of(context.token)
        if socket is not None:
            text = json.dumps(segment.text, ensure_ascii=False)
            await frames.send(socket, f"{before}{segment.offset},{text}{after}")
            continue
        window = [key, segment.offset, segment.text]
        await context.emit_delta({Tail.get_full_name(): {f"{var}{FIELD_MARKER}": window}})


def frame_around(var: str, key: str) -> tuple[str, str]:
    """What stands in each frame of a var before its offset and text, and after them."""
    state, name = json.dumps(Tail.get_full_name()), json.dumps(f"{var}{FIELD_MARKER}")
    before = f'2{NAMESPACE},["event",{{"delta":{{{state}:{{{name}:[{json.dumps(key)},'
    return before, "]}}}]"
