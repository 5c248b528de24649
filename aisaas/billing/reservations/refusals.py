"""What was refused, to which user, why and how often.

A refusal waits for nothing: `record` only counts in memory, and a job writes the counts every few
seconds. Invariant: the memory is bounded. At most, a crash loses the unwritten counts, and an
outage longer than the bound loses the oldest; a write whose answer is lost may count twice. No
decision depends on these rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from aisaas.billing.reservations import store as reservations_store
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, TooSlow
from aisaas.observe.metrics import JOB_ITEMS_FAILED

log = logging.getLogger(__name__)

# Rows, each one user's one reason in one minute: some megabytes.
BUFFERED = 10_000
MINUTE = 60.0


@dataclass(slots=True)
class _Counted:
    times: int
    last: float
    model: str | None


_Key = tuple[UUID, str, int]


class Refusals:
    """Counts refusals here, and writes them as the service: users may not."""

    def __init__(self, service: ServiceDatabase, *, buffered: int = BUFFERED) -> None:
        self._service = service
        self._bound = buffered
        # Oldest first. A minute of this process's clock only groups; the database names minutes.
        self._counted: dict[_Key, _Counted] = {}
        self._dropped = 0

    def record(self, user_id: UUID, code: str, model: str | None) -> None:
        """Count one. `model` is one of the catalogue's, or None."""
        now = time.monotonic()
        self._add((user_id, code, int(now // MINUTE)), _Counted(1, now, model))
        self._drop_oldest()

    async def flush(self) -> int:
        """Write what was counted; how many rows that were.

        Raises:
            DependencyError: the database is away; everything stays counted.
        """
        if self._dropped:
            log.warning("%d refusals were not recorded: too many to keep", self._dropped)
            self._dropped = 0
        if not self._counted:
            return 0
        taken, self._counted = self._counted, {}
        try:
            await self._write(taken)
        except BaseException:
            meanwhile, self._counted = self._counted, taken
            for key, counted in meanwhile.items():
                self._add(key, counted)
            self._drop_oldest()
            raise
        return len(taken)

    async def _write(self, taken: dict[_Key, _Counted]) -> None:
        now = time.monotonic()
        lately = [
            reservations_store.RefusedLately(
                user_id, code, now - counted.last, counted.times, counted.model
            )
            for (user_id, code, _), counted in taken.items()
        ]
        await self._write_halves(lately)

    async def _write_halves(self, lately: Sequence[reservations_store.RefusedLately]) -> None:
        """All at once; where one can't be written, only that one is lost."""
        try:
            async with self._service.transaction(durable=False) as session:
                await reservations_store.add_refusals(session, lately)
        except (DependencyError, TooSlow):
            raise
        except Exception:
            if len(lately) == 1:
                log.exception("a refusal could not be recorded")
                JOB_ITEMS_FAILED.labels("record_refusals").inc()
                return
            middle = len(lately) // 2
            await self._write_halves(lately[:middle])
            await self._write_halves(lately[middle:])

    def _add(self, key: _Key, more: _Counted) -> None:
        counted = self._counted.get(key)
        if counted is None:
            self._counted[key] = more
        else:
            counted.times += more.times
            counted.last, counted.model = more.last, more.model

    def _drop_oldest(self) -> None:
        while len(self._counted) > self._bound:
            self._dropped += self._counted.pop(next(iter(self._counted))).times
