"""One text of a running reply: the text received, the part in the log, and the part followers may see.

A reply has two: what it says, and what the model thinks. Text becomes visible to followers only after
it was appended to the log: what a user saw survives this process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID, uuid5

from aisaas.chat.models import Segment
from aisaas.chat.ports import LogEntry, ReplyLog
from aisaas.errors import DependencyError
from aisaas.language_models import Usage

log = logging.getLogger(__name__)


def thinking_id(message_id: UUID) -> UUID:
    """The log id of a reply's thinking, beside that of its text."""
    return uuid5(message_id, "thinking")


class Track:
    """Followers may see `text[:visible]`."""

    def __init__(
        self,
        reply_log: ReplyLog,
        log_id: UUID,
        facts: Callable[[], tuple[str, Usage | None]],
        *,
        before: str = "",
    ) -> None:
        """Args:
        facts: the model that answers and its usage so far, for a log that lost them.
        before: the existing text; followers may see it, and it is logged with the new text.
        """
        self.text = before
        self._before = len(before)
        self._log = reply_log
        self._log_id = log_id
        self._facts = facts
        self._visible = len(before)
        self._logged: int = 0
        self._over = False
        self._changed = asyncio.Event()

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

    async def flush(self) -> None:
        end = len(self.text)
        if end == self._logged:
            return
        if await self._write([LogEntry(self._logged, self.text[self._logged : end])], end):
            self._logged = end
        # Text missing from the log is added by the next flush that succeeds.
        self._visible = end
        self._wake()

    async def look_after_log(self) -> None:
        """Write all of it again if the log has lost it."""
        if self._logged:
            await self._write([], self._logged)

    def end(self) -> None:
        """No more text: end the followers."""
        self._over = True
        self._wake()

    async def close_log(self) -> None:
        try:
            await self._log.close(self._log_id)
        except DependencyError:
            log.warning("log %s left to expire", self._log_id)
        except Exception:
            log.exception("log %s could not be closed", self._log_id)

    async def _write(self, entries: Sequence[LogEntry], end: int) -> bool:
        """Add to the log; returns whether it now has all of the text up to `end`.

        Redis may have lost earlier data: then this process writes all of its text again, with the
        facts beside it.
        """
        try:
            if not await self._log.append(self._log_id, entries):
                if self._logged:
                    log.warning("log %s is gone; it is written again", self._log_id)
                model, usage = self._facts()
                await self._log.note(self._log_id, model=model, usage=usage)
                await self._log.append(self._log_id, [LogEntry(0, self.text[:end])])
        except DependencyError:
            log.warning("text goes on without its log %s", self._log_id)
            return False
        except Exception:
            # The text can't be shown; keep following.
            log.exception("text could not be logged as %s", self._log_id)
            return False
        return True

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
