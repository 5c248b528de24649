"""Subscriptions as the payment provider has them, and the plan that follows from them.

The provider is the source of truth; the database holds a copy. Invariants: a subscription is looked
at and written under its lock, so an older look never overwrites a newer one; a user's plan follows
from all of their subscriptions together, so the end of one takes nothing from another; one that has
ended for good never comes back.

Outages: without the provider, or without the database, nothing is written and the caller gets an
error; plans stay as they were, and a plan that was going to end still ends on time, because readers
compare `plan_ends_at` with their clock. A lost signal only leaves an open tab as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import plans as held_plans
from aisaas.billing.job_failures.failures import JobFailures, Patience
from aisaas.billing.notices import notices
from aisaas.billing.plans.models import FINAL_STATUSES, Entitlement, SubscriptionStatus
from aisaas.billing.plans.terms import FREE
from aisaas.billing.ports import PaidSubscription, Payments
from aisaas.billing.subscriptions import entitlement_store, store, write_offs
from aisaas.billing.subscriptions.models import AfterRefund, WebhookOutcome
from aisaas.billing.subscriptions.store import Look
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, PaymentsError
from aisaas.observe import context
from aisaas.signals import Signals

log = logging.getLogger(__name__)

T = TypeVar("T")

# The topic of what tells open tabs to read a user's billing again.
BILLING_CHANGED = "billing"
# A look is made inside a transaction, which itself has few seconds.
LOOK_SECONDS = 3.0
GRANTING = frozenset({"trialing", "active", "past_due"})
# As long as an event of it may still come.
DUPLICATE_FOR = timedelta(days=3)
OWING = frozenset({"past_due", "unpaid"})
_NEVER = datetime.max.replace(tzinfo=UTC)
# The `found_by` of differences that the daily look corrects.
DAILY_LOOK = f"job:{store.LOOK_JOB}"

# Called in the transaction that corrects a user's plan, with the old and the new one. If it raises,
# the transaction rolls back.
OnPlanApply = Callable[[AsyncSession, UUID, Entitlement, Entitlement], Awaitable[None]]


# The rules


def entitlement(
    subscriptions: Sequence[PaidSubscription],
    *,
    plans: Sequence[str],
    now: datetime,
    grace: timedelta,
) -> Entitlement:
    """What a user with these subscriptions has at `now`.

    The best plan counts, then the one that lasts longest. A price of no plan grants nothing.

    Args:
        plans: ids of the paid plans, the cheapest first.
        grace: how long a plan continues after a failed payment.
    """
    granting = [
        each
        for each in subscriptions
        if each.status in GRANTING
        and each.plan in plans
        and not each.suspended
        and (ends_at(each, grace) or _NEVER) > now
    ]
    if not granting:
        return Entitlement(
            FREE, _status_of_nothing(subscriptions), customer_id=_payer(subscriptions)
        )
    best = max(
        granting,
        key=lambda each: (
            plans.index(each.plan or ""),
            ends_at(each, grace) or _NEVER,
            each.created_at,
            each.id,
        ),
    )
    start, end = _period(best)
    return Entitlement(
        plan=best.plan or FREE,
        status=_STATUSES[best.status],
        subscription_id=best.id,
        customer_id=best.customer_id,
        period_start=start,
        period_end=end,
        ends_at=ends_at(best, grace),
        period_tokens=best.period_tokens if best.status != "trialing" else None,
        next_plan=best.next_plan if best.cancel_at is None else None,
    )


def duplicates(
    subscriptions: Sequence[PaidSubscription], *, plans: Sequence[str], now: datetime
) -> Sequence[PaidSubscription]:
    """Recent live ones beside an older live one: both would bill the same usage. One that has been
    there longer is intended, and months of it are never refunded automatically."""
    live = sorted(
        (each for each in subscriptions if each.status in GRANTING and each.plan in plans),
        key=lambda each: (each.created_at, each.id),
    )
    return [each for each in live[1:] if each.created_at > now - DUPLICATE_FOR]


_STATUSES: dict[str, SubscriptionStatus] = {
    "trialing": "trialing",
    "active": "active",
    "past_due": "past_due",
}


def ends_at(subscription: PaidSubscription, grace: timedelta) -> datetime | None:
    """When what it grants is over, as far as is known: cancelled, or unpaid for too long."""
    ends = [subscription.cancel_at] if subscription.cancel_at else []
    if subscription.status == "past_due":
        # A renewal's invoice is made when its period begins.
        unpaid_since = subscription.unpaid_since or subscription.period_start
        ends.append((unpaid_since or subscription.created_at) + grace)
    return min(ends, default=None)


def differs(ours: Entitlement, theirs: Entitlement, *, now: datetime) -> bool:
    """Whether a user's plan isn't what follows from their subscriptions at `now`.

    Every reader takes an ended plan as free, whatever else is still stored. A look never unlinks a
    customer.
    """
    if ours.ends_at is not None and ours.ends_at <= now:
        return theirs.plan != FREE
    return ours != replace(theirs, customer_id=theirs.customer_id or ours.customer_id)


def _period(of: PaidSubscription) -> tuple[datetime, datetime] | tuple[None, None]:
    """Both ends or neither: without them the calendar month counts."""
    if of.period_start is None or of.period_end is None or of.period_end <= of.period_start:
        return None, None
    return of.period_start, of.period_end


def _status_of_nothing(subscriptions: Sequence[PaidSubscription]) -> SubscriptionStatus:
    if any(each.status in OWING for each in subscriptions):
        return "past_due"
    if any(each.status == "canceled" or each.cancel_at is not None for each in subscriptions):
        return "cancelled"
    return "free"


def _payer(subscriptions: Sequence[PaidSubscription]) -> str | None:
    """The customer of the newest one that may still come to something."""
    live = [each for each in subscriptions if each.status not in FINAL_STATUSES]
    newest = max(live, key=lambda each: (each.created_at, each.id), default=None)
    return newest.customer_id if newest else None


# Looking and writing


@dataclass(frozen=True, slots=True)
class Synced:
    """The result of a look at a subscription. `seen` is None when nothing new was seen."""

    outcome: WebhookOutcome
    user_id: UUID | None = None
    note: str | None = None
    seen: PaidSubscription | None = None
    entitlement: Entitlement | None = None


class Subscriptions:
    """Copies subscriptions from the provider, and writes the plan that follows."""

    def __init__(
        self,
        service: ServiceDatabase,
        payments: Payments,
        signals: Signals,
        *,
        plans: Sequence[str],
        grace: timedelta,
        after_refund: AfterRefund = "suspend",
    ) -> None:
        """`plans` are ids of those that can be paid for, the cheapest first."""
        self._service = service
        self._failures = JobFailures(service)
        self._payments = payments
        self._signals = signals
        self._plans = plans
        self._grace = grace
        self._after_refund: AfterRefund = after_refund

    async def sync(
        self,
        session: AsyncSession,
        subscription_id: str,
        *,
        user_id: UUID | None = None,
        deleted: bool = False,
        on_apply: OnPlanApply | None = None,
    ) -> Synced:
        """Look at a subscription and write its state, in the caller's transaction.

        Its lock is held during the request to the provider, and until the transaction ends.

        Args:
            user_id: its owner if neither the database nor the subscription itself knows.
            deleted: a trusted source says that it is gone, in case the provider doesn't show it.

        Raises:
            PaymentsError, PaymentsRefused: nothing was written.
        """
        await store.lock(session, subscription_id)
        before = await store.status_of(session, subscription_id)
        if before in FINAL_STATUSES:
            ended = await store.owner(session, subscription_id=subscription_id)
            return Synced("stale", ended, "it has ended for good")
        seen = await _within(LOOK_SECONDS, self._payments.subscription(subscription_id))
        if seen is None:
            return await self._unseen(session, subscription_id, deleted=deleted)
        owner = await store.owner(
            session,
            subscription_id=seen.id,
            customer_id=seen.customer_id,
            user_id=seen.user_id or user_id,
        )
        if owner is None or await held_plans.lock(session, owner) is None:
            return Synced("unknown_customer")
        await store.put(session, owner, seen)
        has = await self.derive(session, owner, on_apply=on_apply)
        assert has is not None
        if seen.schedule_done:
            await store.add_task(session, "release_schedule", seen.id, owner)
        if before is not None and seen.status == "canceled":
            await self.tell_ended(session, owner, seen.id, seen.plan)
        if seen.given_up:
            await write_offs.record(session, owner, seen)
        if seen.status in GRANTING and seen.plan not in self._plans:
            await _report_unknown_price(session, owner, seen)
            return Synced("unknown_price", owner, seen.price_id, seen, has)
        return Synced("done", owner, None, seen, has)

    async def synchronise_customer(
        self,
        customer_id: str,
        *,
        user_id: UUID | None = None,
        on_apply: OnPlanApply | None = None,
    ) -> UUID | None:
        """Look at everything a customer has at the provider; returns its owner, or None if it has none here.

        `user_id` is the owner to use if none is known yet.

        Raises:
            DependencyError, PaymentsRefused: everything looked at until then is written.
        """
        listed = await _within(LOOK_SECONDS, self._payments.subscriptions(customer_id))
        async with self._service.transaction() as session:
            stored = await store.live_ids(session, customer_id)
        for subscription_id in sorted({each.id for each in listed} | set(stored)):
            # A transaction each: a lock is held no longer than for one look.
            async with self._service.transaction() as session:
                await self.sync(session, subscription_id, user_id=user_id, on_apply=on_apply)
        async with self._service.transaction() as session:
            owner = await store.owner(session, customer_id=customer_id, user_id=user_id)
            if owner is None:
                return None
            await self.derive(session, owner, on_apply=on_apply)
            await held_plans.look_later(session, owner, store.LOOK_AGAIN_SECONDS)
        await self.tell(owner)
        return owner

    async def look_again(self, limit: int) -> int:
        """Look at up to `limit` users whose turn it is; returns how many. A plan that wasn't what it
        should be is corrected and recorded. Safe in any number of processes.

        Raises:
            DependencyError: the rest has its turn again soon.
        """
        async with self._service.transaction() as session:
            looks = await store.claim_looks(session, limit)
        patience = Patience()
        for look in looks:
            try:
                await self._look(look)
                patience.answered()
            except DependencyError as error:
                # Their claim runs out, and they are looked at then.
                patience.unanswered(error)
        patience.end()
        return len(looks)

    async def _look(self, look: Look) -> None:
        try:
            for customer_id in look.customer_ids:
                await self.synchronise_customer(
                    customer_id, user_id=look.user_id, on_apply=_note_repair
                )
        except DependencyError:
            raise
        except Exception as error:
            # A failure of this user must not block the others.
            with context.entered(user=look.user_id):
                log.exception("the subscriptions of a user could not be looked at")
            await self._failures.failed(store.LOOK_JOB, str(look.user_id), error)
            return
        if look.failed_before:
            await self._failures.succeeded(store.LOOK_JOB, str(look.user_id))

    async def take_back(
        self, session: AsyncSession, charge_id: str
    ) -> tuple[AfterRefund, UUID | None]:
        """A charge was refunded in full: apply the setting to the plan, in the caller's transaction.
        Returns what was done (nothing unless it paid for a current period) and the plan's owner.

        Raises:
            PaymentsError, PaymentsRefused: nothing was written.
        """
        paid = await _within(LOOK_SECONDS, self._payments.paid_for(charge_id))
        if paid is None:
            return "nothing", None
        await store.lock(session, paid.subscription_id)
        owner = await store.owner(session, subscription_id=paid.subscription_id)
        if owner is None or await held_plans.lock(session, owner) is None:
            return "nothing", None
        if self._after_refund == "nothing":
            return "nothing", owner
        if not await store.suspend(session, paid.subscription_id, paid.created_at):
            return "nothing", owner
        if self._after_refund == "cancel":
            await store.add_task(session, "end_refunded", paid.subscription_id, owner)
        await self.derive(session, owner)
        return self._after_refund, owner

    async def derive(
        self, session: AsyncSession, user_id: UUID, *, on_apply: OnPlanApply | None = None
    ) -> Entitlement | None:
        """Write the plan that follows from all of a user's subscriptions; None without a user."""
        now = await held_plans.lock(session, user_id)
        if now is None:
            return None
        before = await entitlement_store.written(session, user_id) if on_apply else None
        found = await store.subscriptions_of(session, user_id)
        for each in duplicates(found, plans=self._plans, now=now):
            await store.add_task(session, "end_duplicate", each.id, user_id)
        has = self.follows(found, now)
        await store.write_entitlement(session, user_id, has)
        if on_apply is not None and before is not None and differs(before, has, now=now):
            await on_apply(session, user_id, before, has)
        return has

    def follows(self, subscriptions: Sequence[PaidSubscription], now: datetime) -> Entitlement:
        """What a user with these has, by the plans that are sold here. A duplicate, which is going
        to be ended and refunded, grants nothing."""
        refunded = {each.id for each in duplicates(subscriptions, plans=self._plans, now=now)}
        kept = [each for each in subscriptions if each.id not in refunded]
        return entitlement(kept, plans=self._plans, now=now, grace=self._grace)

    async def tell(self, user_id: UUID) -> None:
        """Open tabs read this user's billing again. Only after the commit."""
        try:
            await self._signals.send(BILLING_CHANGED, str(user_id))
        except DependencyError as error:
            log.warning("tabs were not told that billing changed: %s", error)

    @staticmethod
    async def tell_ended(
        session: AsyncSession, user_id: UUID, subscription_id: str, plan: str | None
    ) -> None:
        await notices.add_notice(
            session,
            user_id,
            notices.SUBSCRIPTION_ENDED,
            f"{notices.SUBSCRIPTION_ENDED}:{subscription_id}",
            {"subscription": subscription_id, "plan": plan},
        )

    async def _unseen(
        self, session: AsyncSession, subscription_id: str, *, deleted: bool
    ) -> Synced:
        owner = await store.owner(session, subscription_id=subscription_id)
        if not deleted:
            # The provider never forgets a subscription: this is another account's key, or another
            # mode's. No user loses a plan because of that.
            log.error("the payment provider doesn't know subscription %s", subscription_id)
            return Synced("stale", owner, "the payment provider doesn't know it")
        if owner is None or await held_plans.lock(session, owner) is None:
            return Synced("unknown_customer")
        await store.end(session, [subscription_id])
        return Synced("done", owner, entitlement=await self.derive(session, owner))


async def _note_repair(
    session: AsyncSession, user_id: UUID, before: Entitlement, has: Entitlement
) -> None:
    await entitlement_store.correct(session, user_id, before, has, found_by=DAILY_LOOK)


async def _report_unknown_price(
    session: AsyncSession, user_id: UUID, seen: PaidSubscription
) -> None:
    log.warning("subscription %s has the price of no plan: %s", seen.id, seen.price_id)
    await notices.add_notice(
        session,
        None,
        notices.UNKNOWN_PRICE,
        f"{notices.UNKNOWN_PRICE}:{seen.id}:{seen.price_id}",
        {
            "user_id": str(user_id),
            "customer": seen.customer_id,
            "subscription": seen.id,
            "price": seen.price_id,
        },
    )


async def _within(seconds: float, asked: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await asked
    except TimeoutError as error:
        raise PaymentsError("timeout") from error
