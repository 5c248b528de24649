"""Users whose plan isn't what follows from their subscriptions at the payment provider.

The daily look finds and corrects these by itself; here admins can look at once, and correct what
they find. Invariants: comparing changes no plan; a correction is a look like a webhook's, so nothing
an admin types is trusted, and its line in the audit log is written with the plan. A subscription
that the provider doesn't show costs no user their plan: it is reported, for an admin to decide.

Outages: without the provider or the database nothing is compared or corrected, and what was found
stays on the list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import plans as held_plans
from aisaas.accounts.admin_access import Actor, Intent, admin_read, require_admin
from aisaas.billing.plans.models import FINAL_STATUSES, Entitlement
from aisaas.billing.ports import PaidSubscription, Payments
from aisaas.billing.subscriptions import entitlement_store as store
from aisaas.billing.subscriptions.entitlement_store import (
    DifferenceEntry,
    EntitlementHealth,
    EntitlementSources,
)
from aisaas.billing.subscriptions.subscriptions import Subscriptions, differs
from aisaas.db.paging import Moment, Page
from aisaas.db.service import ServiceDatabase
from aisaas.errors import (
    ActionInvalid,
    DependencyError,
    NotFound,
    PaymentsRefused,
    Unavailable,
)
from aisaas.observe import context

log = logging.getLogger(__name__)

PAGE_ENTRIES = 50
# Users compared per call, and how many of them at a time.
BATCH = 100
AT_ONCE = 5
# How often a comparison is restarted because a webhook came in between.
TRIES = 3
NOBODY = "There is no such account."


@dataclass(frozen=True, slots=True)
class PlanCompared:
    """What a user has here, and what follows from the provider's data. `note` names a subscription
    that it doesn't show although it counts here."""

    user_id: UUID
    ours: Entitlement
    theirs: Entitlement
    differs: bool
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PlansCompared:
    """How many users were looked at, how many differ or couldn't be compared, and the user to
    continue after; None at the end."""

    looked: int
    differing: int
    unclear: int
    next: UUID | None


@dataclass(frozen=True, slots=True)
class PlanCorrected:
    user_id: UUID
    before: Entitlement
    after: Entitlement


class Entitlements:
    def __init__(
        self,
        database: ServiceDatabase,
        payments: Payments | None,
        subscriptions: Subscriptions | None,
    ) -> None:
        """Without a payment provider nothing can be compared."""
        self._database = database
        self._payments = payments
        self._subscriptions = subscriptions

    async def health(self, actor: Actor) -> EntitlementHealth:
        """Raises NotFound, Unavailable."""
        async with admin_read(self._database, actor) as session:
            return await store.health(session)

    async def page(
        self,
        actor: Actor,
        *,
        differing: bool = True,
        search: str = "",
        before: Moment | None = None,
        limit: int = PAGE_ENTRIES,
    ) -> Page[DifferenceEntry, datetime, UUID]:
        """Open differences, or all including corrected ones. `search` is the start of an address or a
        customer ID.

        Raises:
            NotFound: not an admin.
            Unavailable: the database does not answer.
        """
        async with admin_read(self._database, actor) as session:
            return await store.entries(
                session, differing=differing, search=search, before=before, limit=limit
            )

    async def compare(
        self, actor: Actor, *, after: UUID | None = None, limit: int = BATCH
    ) -> PlansCompared:
        """Compare up to `limit` users the provider may know, those after `after`, and record who
        differs.

        Raises:
            NotFound: not an admin.
            Unavailable: the provider or the database does not answer; what was found is recorded.
        """
        require_admin(actor)
        self._asks()
        try:
            async with self._database.transaction() as session:
                users = await store.comparable(session, after, limit)
        except DependencyError as error:
            raise Unavailable from error
        differing = unclear = 0
        for first in range(0, len(users), AT_ONCE):
            some = users[first : first + AT_ONCE]
            for user_id, outcome in zip(
                some,
                await asyncio.gather(
                    *(self._compare(actor, each) for each in some), return_exceptions=True
                ),
                strict=True,
            ):
                match outcome:
                    case PlanCompared():
                        differing += outcome.differs
                    case NotFound():
                        pass  # The account was deleted in the meantime.
                    case DependencyError():
                        raise Unavailable(f"Not all users were compared: {outcome}.") from outcome
                    case Exception():
                        # A failure of this user must not block the others.
                        unclear += 1
                        with context.entered(user=user_id):
                            log.error("a user's plan could not be compared", exc_info=outcome)
                    case _:
                        raise outcome
        return PlansCompared(
            len(users), differing, unclear, users[-1] if len(users) == limit else None
        )

    async def compare_one(self, actor: Actor, user_id: UUID) -> PlanCompared:
        """Compare one user, and record a difference.

        Raises:
            NotFound: not an admin, or no such account.
            ActionInvalid: the provider refuses the request.
            Unavailable: the provider or the database does not answer.
        """
        require_admin(actor)
        self._asks()
        try:
            return await self._compare(actor, user_id)
        except DependencyError as error:
            raise Unavailable(f"It was not compared: {error}. Try again in a moment.") from error
        except PaymentsRefused as refused:
            raise ActionInvalid(f"Stripe rejected the request: {refused.code}.") from refused

    async def correct(self, actor: Actor, user_id: UUID, *, reason: str) -> PlanCorrected:
        """Look at all of a user's subscriptions, as their webhooks do, and write the plan that follows.

        Raises:
            NotFound: not an admin (any longer), or no such account.
            ActionInvalid: no reason; nothing differs; the provider doesn't show a subscription, or
                refuses the request.
            Unavailable: the provider or the database does not answer; what was looked at until then is
                written, with its line in the audit log.
        """
        require_admin(actor)
        intent = Intent.of(actor, reason)
        _, subscriptions = self._asks()
        changes: list[tuple[Entitlement, Entitlement]] = []

        async def on_apply(
            session: AsyncSession, owner: UUID, before: Entitlement, has: Entitlement
        ) -> None:
            act = await intent.within(session)
            await act.note(
                "entitlement.correct",
                f"user:{owner}",
                before=dict(store.as_json(before)),
                after=dict(store.as_json(has)),
            )
            await store.correct(session, owner, before, has, found_by=act.actor)
            changes.append((before, has))

        try:
            async with self._database.transaction() as session:
                await intent.within(session)
                known = await store.sources(session, user_id)
            if known is None:
                raise NotFound(NOBODY)
            for customer_id in known.customer_ids:
                await subscriptions.synchronise_customer(
                    customer_id, user_id=user_id, on_apply=on_apply
                )
            # Also covers a plan without any subscription.
            async with self._database.transaction() as session:
                await subscriptions.derive(session, user_id, on_apply=on_apply)
            if not changes:
                compared = await self._compare(actor, user_id)
                raise ActionInvalid(compared.note or "The plan matches Stripe.")
        except DependencyError as error:
            raise Unavailable(f"It was not corrected: {error}. Try again in a moment.") from error
        except PaymentsRefused as refused:
            raise ActionInvalid(f"Stripe rejected the request: {refused.code}.") from refused
        await subscriptions.tell(user_id)
        return PlanCorrected(user_id, changes[0][0], changes[-1][1])

    async def _compare(self, actor: Actor, user_id: UUID) -> PlanCompared:
        _, subscriptions = self._asks()
        for _ in range(TRIES):
            async with self._database.transaction() as session:
                known = await store.sources(session, user_id)
            if known is None:
                raise NotFound(NOBODY)
            shown, note = await self._shown(user_id, known)
            async with self._database.transaction() as session:
                now = await held_plans.lock(session, user_id)
                ours = await store.written(session, user_id)
                if now is None or ours is None:
                    raise NotFound(NOBODY)
                if ours != known.ours:
                    continue
                theirs = subscriptions.follows(shown, now)
                different = differs(ours, theirs, now=now)
                if different:
                    who = actor if isinstance(actor, str) else f"user:{actor.user_id}"
                    await store.found(session, user_id, ours, theirs, note=note, found_by=who)
                else:
                    await store.agreed(session, user_id)
                return PlanCompared(user_id, ours, theirs, different, note if different else None)
        raise DependencyError("their plan is changing at this moment")

    async def _shown(
        self, user_id: UUID, known: EntitlementSources
    ) -> tuple[Sequence[PaidSubscription], str | None]:
        """A user's subscriptions as a look would leave them, and a note on those not shown."""
        payments, _ = self._asks()
        here = {each.id: each for each in known.subscriptions}
        live = {each.id for each in known.subscriptions if each.status not in FINAL_STATUSES}
        seen: dict[str, PaidSubscription] = {}
        for customer_id in known.customer_ids:
            seen |= {each.id: each for each in await payments.subscriptions(customer_id)}
        missing: list[str] = []
        for subscription_id in sorted(live - seen.keys()):
            found = await payments.subscription(subscription_id)
            if found is None:
                missing.append(subscription_id)
            else:
                seen[subscription_id] = found
        async with self._database.transaction() as session:
            strange = await store.of_others(session, user_id, sorted(seen))
        # A subscription that has ended for good stays ended, whatever the provider says.
        counted = {id_: each for id_, each in here.items() if id_ not in live} | {
            # Known only here: whether its payment was refunded.
            id_: replace(each, suspended=id_ in here and here[id_].suspended)
            for id_, each in seen.items()
            if id_ not in strange and (id_ not in here or id_ in live)
        }
        return list(counted.values()), _not_shown(missing)

    def _asks(self) -> tuple[Payments, Subscriptions]:
        if self._payments is None or self._subscriptions is None:
            raise Unavailable("Stripe isn't set up, so plans can't be compared.")
        return self._payments, self._subscriptions


def _not_shown(missing: Sequence[str]) -> str | None:
    if not missing:
        return None
    return (
        f"Stripe doesn't show {', '.join(missing)}: the key is another account's, or of another mode."
        " Nobody loses a plan because of that."
    )
