"""Usage on its way to the meter: how far behind it is, and what admins do about rows that are stuck.

A dead row was refused by the meter; a parked one may have been counted, and only the meter's sum can
tell. Invariants: a row that may have been counted is compared before it is sent again, and rows that
the sums can decide are decided by them, never by a guess; each change of a row changes its state,
once, with a line in the audit log.

Outages: without the database nothing is shown or done; without the provider parked rows aren't sent
again, because they can't be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from aisaas.accounts.admin_access import Act, Actor, Intent, admin_read, admin_write
from aisaas.billing.metering import outbox_reports as store
from aisaas.billing.metering import reconcile_store
from aisaas.billing.metering.outbox_reports import Moved, OutboxEntry, OutboxHealth, OutboxState
from aisaas.billing.metering.reconcile import Reconciliation
from aisaas.db.paging import Moment, Page
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, DependencyError, Unavailable

PAGE_ENTRIES = 50
# In one transaction, each with its line in the audit log.
MOST_AT_ONCE = 200
TROUBLE: tuple[OutboxState, ...] = ("dead", "parked")

Resolution = Literal["counted", "waived"]


@dataclass(frozen=True, slots=True)
class Resent:
    """How many rows are sent again, and how many the meter already had."""

    resent: int
    counted: int


class OutboxAdmin:
    def __init__(self, database: ServiceDatabase, reconciliation: Reconciliation | None) -> None:
        """`reconciliation` is None without a payment provider."""
        self._database = database
        self._reconciliation = reconciliation

    async def health(self, actor: Actor) -> OutboxHealth:
        """Raises NotFound, Unavailable."""
        async with admin_read(self._database, actor) as session:
            return await store.outbox_health(session)

    async def page(
        self,
        actor: Actor,
        states: Sequence[OutboxState] = TROUBLE,
        *,
        search: str = "",
        before: Moment | None = None,
        limit: int = PAGE_ENTRIES,
    ) -> Page[OutboxEntry, datetime, UUID]:
        """The newest usage first. `search` is the start of an identifier, a customer ID or an address.

        Raises:
            NotFound: not an admin.
            Unavailable: the database does not answer.
        """
        async with admin_read(self._database, actor) as session:
            return await store.outbox_entries(
                session, states, search=search, before=before, limit=limit
            )

    async def resend(self, actor: Actor, ids: Sequence[UUID], *, reason: str) -> Resent:
        """Resend rows that are still dead or parked. Parked ones are compared with the meter first:
        those it has are marked as sent instead.

        Raises:
            NotFound: not an admin.
            ActionInvalid: no reason; nothing that can be sent again; or usage of a parked row's day
                is on its way, so that the meter can't be compared yet.
            Unavailable: the database, or for parked rows the provider, does not answer.
        """
        intent = Intent.of(actor, reason)
        _check(ids)
        try:
            async with self._database.transaction() as session:
                await intent.within(session)
                rows = await store.outbox_rows(session, ids)
            parked = [row for row in rows if row.state == "parked"]
            await self._compare(parked)
            async with self._database.transaction() as session:
                act = await intent.within(session)
                moved = await store.resend(session, ids)
                await _enter(act, moved, "usage.resend", "pending")
                now = await store.outbox_rows(session, [row.id for row in parked])
        except DependencyError as error:
            raise Unavailable from error
        # The comparison may have resolved parked rows by itself, either way.
        counted = sum(row.state == "sent" for row in now)
        by_itself = sum(row.state == "pending" for row in now) - sum(
            m.was == "parked" for m in moved
        )
        if not moved and not counted and not by_itself:
            raise ActionInvalid(
                "Nothing to resend: it was already sent, or Stripe no longer accepts it."
            )
        return Resent(len(moved) + by_itself, counted)

    async def resolve(
        self, actor: Actor, ids: Sequence[UUID], resolution: Resolution, *, reason: str
    ) -> int:
        """Decide rows by hand: the meter counted them (parked ones only), or they are waived and never
        billed. Returns how many were still undecided.

        Raises:
            NotFound: not an admin.
            ActionInvalid: no reason, or none of the rows is undecided (any longer).
            Unavailable: the database does not answer.
        """
        _check(ids)
        state: OutboxState = "sent" if resolution == "counted" else "waived"
        async with admin_write(self._database, actor, reason) as act:
            moved = await store.resolve(act.session, ids, counted=resolution == "counted")
            await _enter(act, moved, "usage.resolve", state)
        if not moved:
            raise ActionInvalid(
                "Nothing to resolve: it was already resolved, or it isn't parked or rejected."
            )
        return len(moved)

    async def _compare(self, parked: Sequence[OutboxEntry]) -> None:
        if parked and self._reconciliation is None:
            raise Unavailable("Stripe isn't set up, so we can't check what it has counted.")
        for customer, day in sorted({(row.customer, row.day) for row in parked}):
            assert self._reconciliation is not None
            compared = await self._reconciliation.compare(customer, day)
            if compared.ledger.unsure or compared.ledger.recent:
                raise ActionInvalid(
                    f"Other usage of {customer} on {day} is still being sent. Try again in an hour."
                )


def _check(ids: Sequence[UUID]) -> None:
    if len(ids) > MOST_AT_ONCE:
        raise ActionInvalid(f"You can do at most {MOST_AT_ONCE} at a time.")


async def _enter(act: Act, moved: Sequence[Moved], action: str, state: OutboxState) -> None:
    """Write the audit lines, and schedule another comparison of the days."""
    for row in moved:
        await act.note(
            action,
            f"usage:{row.id}",
            before={"state": row.was, "error": row.error},
            after={"state": state, "customer": row.customer, "tokens": row.tokens},
        )
    for customer, day in sorted({(row.customer, row.day) for row in moved}):
        await reconcile_store.compare_again(act.session, customer, day)
