"""Reconciliation: every customer's day in the ledger against the same day in the meter.

A day is compared an hour after its end, and again while the two differ or rows of it are on their
way. It never corrects the ledger, which is right by definition; what it decides is what became of
parked rows: the provider has forgotten their identifiers, so only the meter's sum can tell. If it
has exactly the sent rows and the parked ones, those were counted. If it has exactly the sent ones,
they are missing and go out again, under their own identifiers: should the provider still know one,
it refuses to count it twice, which a fresh one would throw away. Anything else is an admin's.

Invariant: nothing is decided while it could still change: with a row in flight, with one sent so
lately that the meter may not show it, or when the ledger has moved during the call.

Outages: without the provider or the database a day's claim runs out and it is compared later.
"""

from __future__ import annotations

import logging

from aisaas.billing import reconcile_store as store
from aisaas.billing.reconcile_store import CustomerDay, LedgerDay
from aisaas.db.service import ServiceDatabase
from aisaas.errors import PaymentsRefused
from aisaas.ports import Payments

log = logging.getLogger(__name__)

BATCH = 10
# While rows of a day are on their way; and when only the difference is left.
SOON_SECONDS = 3600.0
LATER_SECONDS = 86_400.0


class Reconciliation:
    """Compares, and resolves what is parked."""

    def __init__(self, service: ServiceDatabase, payments: Payments) -> None:
        self._service = service
        self._payments = payments

    async def run_once(self) -> int:
        """Compare every day whose turn it is; how many that were.

        Raises:
            DependencyError: the provider or the database is away; the rest is compared later.
        """
        async with self._service.transaction() as session:
            await store.enter_days(session)
        compared = 0
        while days := await self._service.ask(store.claim_days(BATCH)):
            for day in days:
                await self._compare(day)
            compared += len(days)
        return compared

    async def _compare(self, day: CustomerDay) -> None:
        before = await self._service.ask(store.ledger_day(day))
        try:
            meter = await self._payments.reported_usage(day.customer, day.start, day.end)
        except PaymentsRefused as refused:
            # No such customer or meter any more: their other days are none the worse for it.
            log.warning("%s of %s can't be compared: %s", day.day, day.customer, refused.code)
            await self._service.ask(store.put_off(day, LATER_SECONDS))
            return
        ledger = await self._service.ask(store.ledger_day(day))
        if ledger != before:
            return
        resolved = await self._resolve(ledger, meter)
        moving = bool(ledger.pending or ledger.parked or ledger.recent or resolved)
        again = SOON_SECONDS if moving else LATER_SECONDS
        drift = await self._service.ask(store.record(day, ledger, meter, again_seconds=again))
        if drift and not moving:
            log.warning(
                "meter and ledger differ by %+d tokens for %s on %s",
                drift,
                day.customer,
                day.day,
            )

    async def _resolve(self, ledger: LedgerDay, meter: int) -> int:
        """What became of the parked rows, where the sums tell; how many rows were resolved."""
        if not ledger.parked_ids or ledger.unsure or ledger.recent:
            return 0
        missing, counted = ledger.sent, ledger.sent + ledger.parked
        if meter not in {missing, counted}:
            return 0
        return await self._service.ask(
            store.resolve_parked(ledger.parked_ids, counted=meter == counted)
        )
