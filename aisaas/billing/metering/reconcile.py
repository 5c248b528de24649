"""Reconciliation: every customer's day in the ledger against the same day in the meter.

A day is compared an hour after its end, and again while the two differ or rows of it are on their
way. It never corrects the ledger, which is right by definition; it decides the outcome of parked
rows: the provider has forgotten their identifiers, so only the meter's sum can tell. If the sum is
exactly the sent and the parked rows, the parked ones were counted. If it is exactly the sent ones,
the parked ones are missing and are resent under their own identifiers: if the provider still knows
one, it refuses to count it twice, a protection that a new identifier would lose. An admin decides
anything else.

Invariant: nothing is decided while it could still change: with a row in flight, with one sent so
lately that the meter may not show it, or when the ledger changed during the call.

Outages: without the provider or the database a day's claim runs out and it is compared later.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from aisaas.billing.job_failures.failures import JobFailures, Patience
from aisaas.billing.metering import reconcile_store as store
from aisaas.billing.metering.reconcile_store import CustomerDay, LedgerDay
from aisaas.billing.ports import EXTRA_USAGE_METER, Payments
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, DependencyError, PaymentsRefused

log = logging.getLogger(__name__)

JOB = "reconcile_usage"
BATCH = 10
# While rows of a day are on their way; and when only the difference is left.
SOON_SECONDS = 3600.0
LATER_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Compared:
    """A customer's day on both sides. `drift` is the meter's excess, or what it lacks when negative;
    it means nothing while rows are `moving`."""

    customer: str
    day: date
    ledger: LedgerDay
    meter: int
    drift: int
    moving: bool

    @property
    def meter_name(self) -> str:
        return self.ledger.meters[0] if self.ledger.meters else EXTRA_USAGE_METER

    @property
    def open_drift(self) -> int:
        """Without what was settled elsewhere."""
        return self.drift - self.ledger.settled


class Reconciliation:
    """Compares, and resolves what is parked."""

    def __init__(self, service: ServiceDatabase, payments: Payments) -> None:
        self._service = service
        self._payments = payments
        self._failures = JobFailures(service)

    async def run_once(self) -> int:
        """Compare every due day; returns how many.

        Raises:
            DependencyError: the provider or the database is down; the rest is compared later.
        """
        async with self._service.transaction() as session:
            await store.enter_days(session)
        compared, patience = 0, Patience()
        while days := await self._service.ask(store.claim_days(BATCH)):
            for day in days:
                try:
                    compared += await self._compare_or_note(day)
                    patience.answered()
                except DependencyError as error:
                    # Its claim runs out, and it is compared then.
                    patience.unanswered(error)
        patience.end()
        return compared

    async def compare(self, customer: str, day: date) -> Compared:
        """Compare one customer's day now, whenever its turn is.

        Raises:
            ActionInvalid: it can't be compared (yet).
            DependencyError: the provider or the database is away.
        """
        async with self._service.transaction() as session:
            wanted = await store.enter_day(session, customer, day)
        if wanted is None:
            raise ActionInvalid("Days can be compared an hour after they end, in UTC.")
        try:
            compared = await self._look(wanted)
        except PaymentsRefused as refused:
            raise ActionInvalid(
                f"Stripe rejected the request for {customer}: {refused.code}."
            ) from refused
        await self._failures.succeeded(JOB, f"{customer} {day}")
        if compared is None:
            raise ActionInvalid("Usage of that day changed in the meantime. Compare it again.")
        return compared

    async def customers(self, day: date) -> Sequence[str]:
        """Customers with usage on that day. Raises DependencyError."""
        async with self._service.transaction() as session:
            return await store.customers_of(session, day)

    async def _compare_or_note(self, day: CustomerDay) -> bool:
        item = f"{day.customer} {day.day}"
        try:
            await self._compare(day)
        except DependencyError:
            raise
        except Exception as error:
            # A failure of this day must not block the others.
            log.exception("%s of %s could not be compared", day.day, day.customer)
            await self._failures.failed(JOB, item, error)
            return False
        if day.failed_before:
            await self._failures.succeeded(JOB, item)
        return True

    async def _compare(self, day: CustomerDay) -> None:
        try:
            compared = await self._look(day)
        except PaymentsRefused as refused:
            # The customer or meter is gone; this doesn't affect other days.
            log.warning("%s of %s can't be compared: %s", day.day, day.customer, refused.code)
            await self._service.ask(store.put_off(day, LATER_SECONDS))
            return
        if compared is not None and compared.open_drift and not compared.moving:
            log.warning(
                "meter %s and ledger differ by %+d for %s on %s",
                ", ".join(compared.ledger.meters),
                compared.drift,
                day.customer,
                day.day,
            )

    async def _look(self, day: CustomerDay) -> Compared | None:
        """Compare, resolve parked rows, and record both; None when it changed in between."""
        before = await self._service.ask(store.ledger_day(day))
        meter = sum(
            [
                await self._payments.reported_usage(day.customer, day.start, day.end, meter=each)
                for each in before.meters or (EXTRA_USAGE_METER,)
            ]
        )
        ledger = await self._service.ask(store.ledger_day(day))
        if ledger != before:
            return None
        resolved = await self._resolve(ledger, meter)
        moving = bool(ledger.moving or resolved)
        again = SOON_SECONDS if moving else LATER_SECONDS
        drift = await self._service.ask(store.record(day, ledger, meter, again_seconds=again))
        return Compared(day.customer, day.day, ledger, meter, drift, moving)

    async def _resolve(self, ledger: LedgerDay, meter: int) -> int:
        """Resolve parked rows where the sums decide; returns how many."""
        if not ledger.parked_ids or ledger.unsure or ledger.recent:
            return 0
        # A correction was for sent tokens that the meter lacks, as long as it lacks the correction.
        missing, counted = ledger.sent - ledger.parked_corrections, ledger.sent + ledger.parked
        if meter not in {missing, counted}:
            return 0
        return await self._service.ask(
            store.resolve_parked(ledger.parked_ids, counted=meter == counted)
        )
