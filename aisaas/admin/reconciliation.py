"""Ledger and meter, by customer and day: where they differ, and what admins do about it.

What the meter lacks is sent through the outbox as one more event, under an identifier derived from
customer, day and number, so two admins send it once. An excess is taken back by canceling an event the
provider received within the last day (it can't cancel older ones), and what that takes too much is sent
again; otherwise it has to be credited by hand, and the drift is marked as settled.

Invariants: nothing is corrected while rows of the day are on their way, parked or sent so lately that
the meter may not show them, nor within an hour of another correction; dead rows are not a drift to
correct, because they can still be sent. A cancellation whose response is lost leaves a drift that the
next comparison shows, whether it succeeded or not.

Outages: without the provider or the database nothing is compared or corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.admin_access import Actor, Intent, admin_read, admin_write, require_admin
from aisaas.billing.metering import reconciliation_reports as store
from aisaas.billing.metering.reconcile import Compared, Reconciliation
from aisaas.billing.metering.reconciliation_reports import DayEntry, DriftHealth
from aisaas.billing.ports import TOKEN_METER, Payments
from aisaas.db.paging import Cursor, Page
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, DependencyError, PaymentsRefused, Unavailable

PAGE_ENTRIES = 50
Remedy = Literal["sent", "cancelled", "to_credit"]


@dataclass(frozen=True, slots=True)
class Corrected:
    """What was done about `drift`, in the units of the day's meter. `late` when its period is over:
    then the correction reaches no existing invoice, and has to be invoiced by hand."""

    customer: str
    day: date
    drift: int
    remedy: Remedy
    late: bool = False
    meter: str = TOKEN_METER


class ReconciliationAdmin:
    def __init__(
        self,
        database: ServiceDatabase,
        payments: Payments | None,
        reconciliation: Reconciliation | None,
    ) -> None:
        """Without a payment provider nothing can be compared."""
        self._database = database
        self._payments = payments
        self._reconciliation = reconciliation

    async def health(self, actor: Actor) -> DriftHealth:
        """Raises NotFound, Unavailable."""
        async with admin_read(self._database, actor) as session:
            return await store.drift_health(session)

    async def page(
        self,
        actor: Actor,
        *,
        differing: bool = True,
        search: str = "",
        before: Cursor[date, str] | None = None,
        limit: int = PAGE_ENTRIES,
    ) -> Page[DayEntry, date, str]:
        """Compared days, or only those that differ. `search` is the start of a customer ID or an
        address.

        Raises:
            NotFound: not an admin.
            Unavailable: the database does not answer.
        """
        async with admin_read(self._database, actor) as session:
            return await store.day_entries(
                session, differing=differing, search=search, before=before, limit=limit
            )

    async def compare(self, actor: Actor, customer: str, day: date) -> Compared:
        """Ask the meter now.

        Raises:
            NotFound: not an admin.
            ActionInvalid: the day can't be compared (yet).
            Unavailable: the provider or the database does not answer.
        """
        require_admin(actor)
        try:
            return await self._meter().compare(customer, day)
        except DependencyError as error:
            raise Unavailable from error

    async def compare_day(self, actor: Actor, day: date) -> Sequence[Compared]:
        """As `compare`, for every customer with usage on that day."""
        require_admin(actor)
        try:
            customers = await self._meter().customers(day)
        except DependencyError as error:
            raise Unavailable from error
        return [await self.compare(actor, customer, day) for customer in customers]

    async def compare_due(self, actor: Actor) -> int:
        """As the job does: compare every due day; returns how many."""
        require_admin(actor)
        try:
            return await self._meter().run_once()
        except DependencyError as error:
            raise Unavailable from error

    async def correct(self, actor: Actor, customer: str, day: date, *, reason: str) -> Corrected:
        """Compare again and correct the difference, as far as the provider lets us.

        Raises:
            NotFound: not an admin.
            ActionInvalid: no reason; nothing differs; dead rows explain the difference; rows are on
                their way; or it was corrected within the hour.
            Unavailable: the provider or the database does not answer. Compare again before anything
                else.
        """
        intent = Intent.of(actor, reason)
        compared = await self.compare(actor, customer, day)
        drift = _correctable(compared)
        try:
            if drift < 0:
                return await self._send(intent, compared, -drift)
            return await self._take_back(intent, compared, drift)
        except DependencyError as error:
            raise Unavailable(
                f"The outcome is unknown: {error}. Compare that day again in an hour."
            ) from error

    async def settle(self, actor: Actor, customer: str, day: date, *, reason: str) -> int:
        """Mark the difference as settled elsewhere, such as by a credit note; returns its size.

        Raises:
            NotFound: not an admin.
            ActionInvalid: no reason, or nothing differs.
            Unavailable: the database does not answer.
        """
        async with admin_write(self._database, actor, reason) as act:
            tokens = await store.settle_drift(act.session, customer, day)
            if not tokens:
                raise ActionInvalid("Nothing differs on that day, or it's already settled.")
            await act.note(
                "meter.settle",
                f"meter:{customer}:{day}",
                before={"drift": tokens},
                after={"settled": tokens},
            )
        return tokens

    async def _send(self, intent: Intent, compared: Compared, missing: int) -> Corrected:
        """Send what the meter lacks with the customer's next usage."""
        async with self._database.transaction() as session:
            act = await intent.within(session)
            await _claim(session, compared)
            late = await store.add_correction(session, compared.customer, compared.day, missing)
            await act.note(
                "meter.correct",
                f"meter:{compared.customer}:{compared.day}",
                before={"drift": -missing},
                after={"sent": missing},
            )
        return Corrected(
            compared.customer, compared.day, -missing, "sent", late, compared.meter_name
        )

    async def _take_back(self, intent: Intent, compared: Compared, surplus: int) -> Corrected:
        customer, day = compared.customer, compared.day
        async with self._database.transaction() as session:
            act = await intent.within(session)
            event = await store.cancellable(session, customer, day, surplus)
            if event is None:
                return Corrected(customer, day, surplus, "to_credit", meter=compared.meter_name)
            await _claim(session, compared)
            await act.note(
                "meter.correct",
                f"meter:{customer}:{day}",
                before={"drift": surplus},
                after={"cancelled": event.identifier, "sent": event.value - surplus},
            )
        assert self._payments is not None
        try:
            await self._payments.cancel_usage(event.identifier, meter=event.meter)
        except PaymentsRefused as refused:
            # By the provider's clock, the day to cancel it is over.
            async with self._database.transaction() as session:
                # The action is recorded even if its actor is no longer an admin.
                await replace(act, session=session).note(
                    "meter.correct",
                    f"meter:{customer}:{day}",
                    before={"cancelled": event.identifier},
                    after={"refused": refused.code, "to_credit": surplus},
                )
            return Corrected(customer, day, surplus, "to_credit", meter=compared.meter_name)
        late = False
        if event.value > surplus:
            async with self._database.transaction() as session:
                late = await store.add_correction(session, customer, day, event.value - surplus)
        return Corrected(customer, day, surplus, "cancelled", late, compared.meter_name)

    def _meter(self) -> Reconciliation:
        if self._reconciliation is None:
            raise Unavailable("Stripe isn't set up, so there is nothing to compare with.")
        return self._reconciliation


def _correctable(compared: Compared) -> int:
    """The part of the drift that no row explains. Raises ActionInvalid."""
    if compared.moving:
        raise ActionInvalid(
            "Some usage of that day is waiting or parked. Compare it again in an hour."
        )
    unexplained = compared.open_drift + compared.ledger.dead
    if unexplained and len(compared.ledger.meters) > 1:
        raise ActionInvalid(
            "That day's usage is on two meters, so it can't be corrected here. Credit or invoice the "
            "difference in Stripe, then mark it as settled."
        )
    if unexplained == 0 and compared.ledger.dead:
        raise ActionInvalid("The missing usage is in rejected records. Resend or waive them.")
    if unexplained == 0:
        raise ActionInvalid("Ledger and Stripe agree on that day.")
    return unexplained


async def _claim(session: AsyncSession, of: Compared) -> None:
    """Let only one admin correct a day; others compare again once the meter shows it."""
    if not await store.claim_day(session, of.customer, of.day):
        raise ActionInvalid(
            "It was corrected within the last hour. Wait an hour, then compare it again."
        )
