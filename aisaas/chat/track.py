"""One text of a running reply: the text received, the part in the log, and the part followers may see.

A reply has two: what it says, and what the model thinks. Text becomes visible to followers only after
it was appended to the log: what a user saw survives this process.
"""

from __future__ import annotations

import logging
from asyncio import Event
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

from aisaas.chat.models import Segment
from aisaas.chat.ports import LogEntry, LogWrite, ReplyLog
from aisaas.errors import DependencyError
from aisaas.language_models import Usage

log = logging.getLogger(__name__)

Facts = tuple[str, Usage | None]


def thinking_id(message_id: UUID) -> UUID:
    """The log id of a reply's thinking, beside that of its text."""
    return uuid5(message_id, "thinking")


class Track:
    """Followers may see `text[:visible]`."""

    def __init__(self, log_id: UUID, facts: Callable[[], Facts], *, before: str = "") -> None:
        """Args:
        facts: the model that answers and its usage so far.
        before: the existing text; followers may see it, and it is logged with the new text.
        """
        self.log_id = log_id
        self.text = before
        self.facts = facts
        # The facts in the log, whether they are wanted there without text, and how much of the text is.
        self.noted: Facts | None = None
        self.wants_facts = False
        self.logged = 0
        self._before = len(before)
        self._visible = len(before)
        self._over = False
        self._changed = Event()

    @property
    def fresh(self) -> str:
        """The text this call added."""
        return self.text[self._before :]

    @property
    def grew(self) -> bool:
        """Whether this call has added anything."""
        return len(self.text) > self._before

    def visible_from(self, offset: int) -> Segment:
        return Segment(offset, self.text[offset : self._visible])

    async def follow(self, offset: int) -> AsyncIterator[Segment]:
        """Visible text from `offset` on, until there is no more."""
        while True:
            changed = self._changed
            if self._visible > offset:
                text = self.text[offset : self._visible]
                yield Segment(offset, text)
                offset += len(text)
                continue
            if self._over:
                return
            await changed.wait()

    def show(self, end: int) -> None:
        """Let followers see the text up to `end`."""
        if end > self._visible:
            self._visible = end
            self._wake()

    def end(self) -> None:
        """No more text: end the followers."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, Event()
        changed.set()


async def flush(reply_log: ReplyLog, tracks: Iterable[Track], *, look: bool = False) -> None:
    """Log what is new of each track, in one round trip, and show it.

    A log that has lost earlier data gets all of its text again. Text that couldn't be logged is shown
    too, and the next flush that succeeds adds it.

    Args:
        look: check also the logs of tracks without news.
    """
    writes = [_Write(track, track.logged, len(track.text), track.facts()) for track in tracks]
    writes = [each for each in writes if each.has_news or (look and each.end)]
    lost = await _write(reply_log, writes)
    if lost:
        for each in lost:
            if each.start:
                log.warning("log %s is gone; it is written again", each.track.log_id)
            each.track.noted = None
        await _write(reply_log, [replace(each, start=0) for each in lost])
    for each in writes:
        each.track.show(each.end)


async def close(reply_log: ReplyLog, log_id: UUID) -> None:
    """End a log; one that can't be ended expires."""
    try:
        await reply_log.close(log_id)
    except DependencyError:
        log.warning("log %s left to expire", log_id)
    except Exception:
        log.exception("log %s could not be closed", log_id)


@dataclass(frozen=True, slots=True)
class _Write:
    """A track's text from `start` to `end`, and its facts, on their way to the log."""

    track: Track
    start: int
    end: int
    facts: Facts

    @property
    def has_news(self) -> bool:
        return self.start < self.end or (self.track.wants_facts and self._facts_changed)

    @property
    def _facts_changed(self) -> bool:
        return self.facts != self.track.noted

    def as_logged(self) -> LogWrite:
        track, text = self.track, None
        if self.start < self.end:
            text = LogEntry(self.start, track.text[self.start : self.end])
        if not self._facts_changed:
            return LogWrite(track.log_id, text)
        model, usage = self.facts
        return LogWrite(track.log_id, text, model, usage)


async def _write(reply_log: ReplyLog, writes: Sequence[_Write]) -> list[_Write]:
    """Returns those whose log lacks earlier data."""
    if not writes:
        return []
    try:
        answers = await reply_log.write([each.as_logged() for each in writes])
    except DependencyError:
        log.warning("text of %d replies goes on without its log", len(writes))
        return []
    except Exception:
        # The text can't be logged; keep showing it.
        log.exception("text of %d replies could not be logged", len(writes))
        return []
    lost: list[_Write] = []
    for each, is_whole in zip(writes, answers, strict=True):
        each.track.noted = each.facts
        if is_whole:
            each.track.logged = each.end
        elif each.end:
            lost.append(each)
    return lost
