"""The outbox: usage on its way from the ledger to the payment provider's meter.

Every row is sent until the meter surely has it, and counts once: a row is marked as possibly sent
before it is sent, keeps its identifier across senders, and is parked before the provider forgets
that identifier. `reconcile` compares parked rows. Any number of processes may send at once: the
database gives each customer to one of them at a time, and its clock is the only one that counts.

Outages: without the provider, rows wait and nothing is lost; chat goes on, bounded by allowances
and caps that live in Postgres. Without the database nothing is claimed, and rows sent in the
meantime are sent again, which doesn't count twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Sequence

from aisaas.billing.job_failures.failures import name_of
from aisaas.billing.metering import outbox_store as store
from aisaas.billing.metering.models import MeteringHealth
from aisaas.billing.metering.outbox_store import ClaimedUsage
from aisaas.billing.notices.notices import METERING_LATE, add_notice
from aisaas.billing.ports import MeterEvent, Payments
from aisaas.billing.subscriptions.store import count_on_token_meter
from aisaas.db.engine import PipelinedQuery
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, PaymentsError, PaymentsRefused
from aisaas.observe.metrics import METER_SENDS

log = logging.getLogger(__name__)

# Calls in flight, in this process, each for another customer.
CONCURRENCY = 8
# Calls end in bunches, and what is free is claimed together.
GATHER_SECONDS = 0.01
IDLE_SECONDS = 1.0
# A row claimed longer ago than this is left to the next claimer.
SEND_WITHIN_SECONDS = store.LEASE_SECONDS / 2
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 300.0
# Failures in a row that can't be the rows' fault any more: the provider is away.
AWAY_AFTER = 5
LONGEST_PAUSE_SECONDS = 60.0
REASON_LENGTH = 500
# Tries after which a row that surprises us each time is parked.
SURPRISES = 8


class Outbox:
    """Sends due rows; reports how far behind it is."""

    def __init__(self, service: ServiceDatabase, payments: Payments) -> None:
        self._service = service
        self._payments = payments
        self._after = ""
        self._failures = 0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Claim no more: `deliver_due` returns as soon as the calls in flight have ended."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def rest(self, seconds: float) -> None:
        """Wait for so long, or until it is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def deliver_due(self) -> float:
        """Send until nothing is due; returns the seconds until more may be.

        Raises:
            DependencyError: the database is down. Rows in flight wait until their claim ends.
        """
        flying: set[asyncio.Task[None]] = set()
        room_in = 0.0
        try:
            while True:
                free = CONCURRENCY - len(flying)
                if free and not self.stopping:
                    claimed = await self._service.ask(store.claim(free, self._after))
                    room_in = claimed.room_in
                    self._remember_turn(claimed.rows)
                    began = time.monotonic()
                    flying |= {
                        asyncio.create_task(self._deliver(row, began)) for row in claimed.rows
                    }
                if not flying:
                    return min(room_in or IDLE_SECONDS, IDLE_SECONDS)
                await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(GATHER_SECONDS)
                flying = {task for task in flying if not task.done()}
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    async def health(self) -> MeteringHealth:
        return await self._service.ask(store.health())

    async def warn_if_late(self) -> None:
        """In the log each time, and by mail to the admins once a day (UTC)."""
        health = await self.health()
        if health.late:
            await self._tell_admins(health)
            log.warning(
                "usage is late for the meter: %d rows wait, the oldest for %.0f s; %d are parked, "
                "%d were refused",
                health.pending,
                health.oldest_seconds,
                health.parked,
                health.dead,
            )

    async def count_on_token_meter(self) -> int:
        """Live subscriptions that `stripe sync` hasn't moved to the meter of money. They are billed by
        the meter and the price that they have from before."""
        return await self._service.ask(count_on_token_meter())

    async def warn_of_token_meter(self) -> None:
        if count := await self.count_on_token_meter():
            log.warning(
                "live subscriptions that are billed by tokens, as in an earlier release: %d; run"
                " `python -m aisaas stripe sync` to bill extra usage as the ledger does",
                count,
            )

    async def _tell_admins(self, health: MeteringHealth) -> None:
        async with self._service.transaction() as session:
            await add_notice(
                session,
                None,
                METERING_LATE,
                f"{METERING_LATE}:{await store.today(session)}",
                {
                    "pending": health.pending,
                    "minutes": int((health.oldest_seconds or 0) // 60),
                    "parked": health.parked,
                    "dead": health.dead,
                },
            )

    async def _deliver(self, row: ClaimedUsage, began: float) -> None:
        if time.monotonic() - began > SEND_WITHIN_SECONDS:
            # This process was held up; by now another process may have claimed the row.
            return
        try:
            result = await self._send(row)
            # Not durable: if this is lost, the row is sent again, which doesn't count twice.
            if not await self._service.ask(result, durable=False):
                log.info("usage %s was taken over by another sender", row.identifier)
        except DependencyError:
            log.warning("what became of usage %s could not be written", row.identifier)
        except Exception as error:
            # A surprise with one row must not keep the others from the meter.
            log.exception("usage %s could not be sent", row.identifier)
            await self._put_aside(row, error)

    async def _put_aside(self, row: ClaimedUsage, error: Exception) -> None:
        """It may or may not have been sent: it waits, and is finally parked for comparison."""
        reason = name_of(error)
        METER_SENDS.labels("postponed").inc()
        try:
            if row.attempts >= SURPRISES:
                log.error("usage %s is parked: %s", row.identifier, reason)
                await self._service.ask(store.parked(row, reason))
                return
            waits = _wait(row.attempts)
            await self._service.ask(
                store.postponed(row, reason, waits, undone=False, answered=False)
            )
        except DependencyError:
            log.warning("what became of usage %s could not be written", row.identifier)
        except Exception:
            # Its claim runs out; the others are sent in the meantime.
            log.exception("usage %s could not be put aside", row.identifier)

    async def _send(self, row: ClaimedUsage) -> PipelinedQuery[bool]:
        """Call the provider, with no transaction open; what is to be written of it."""
        event = MeterEvent(
            row.identifier, row.customer, row.value, row.event_at, row.failures, row.meter
        )
        try:
            # Whether it is new to the meter or known to it: it has it.
            await self._payments.report_usage(event)
        except PaymentsRefused as refused:
            self._failures = 0
            METER_SENDS.labels("refused").inc()
            log.warning("usage %s was refused by the meter: %s", row.identifier, refused.code)
            return store.dead(row, f"{refused.code}: {refused.message}"[:REASON_LENGTH])
        except PaymentsError as error:
            METER_SENDS.labels("postponed").inc()
            await self._slow_down(error)
            seconds = max(_wait(row.attempts), error.retry_after or 0.0)
            return store.postponed(
                row, error.kind, seconds, undone=error.undone, answered=error.answered
            )
        self._failures = 0
        METER_SENDS.labels("sent").inc()
        return store.sent(row)

    async def _slow_down(self, error: PaymentsError) -> None:
        """Pause all senders when the provider asks for it, or seems to be down."""
        self._failures += 1
        away = self._failures - AWAY_AFTER
        if error.kind == "rate_limited":
            pause = error.retry_after or FIRST_WAIT_SECONDS
        elif away >= 0:
            pause = FIRST_WAIT_SECONDS * 2.0 ** min(away, 10)
        else:
            return
        await self._service.ask(store.pause(min(pause, LONGEST_PAUSE_SECONDS)), durable=False)

    def _remember_turn(self, rows: Sequence[ClaimedUsage]) -> None:
        """Who comes behind the last one has the next turn; customers go round by their ids."""
        customers = [row.customer for row in rows]
        began_again = [name for name in customers if name <= self._after]
        self._after = max(began_again or customers, default=self._after)


def _wait(attempts: int) -> float:
    """Seconds until the next try: twice as long each time, and never all rows at once."""
    longest = FIRST_WAIT_SECONDS * 2.0 ** min(attempts, 12)
    return min(longest, LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311
