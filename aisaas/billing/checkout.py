"""Paying: Checkout, the billing portal, the personal spending cap, and what the billing page shows.

No plan is granted here. Returning from Checkout proves nothing; the webhook, or our own look at Stripe,
does.

Outages: without Stripe, Checkout and the portal are refused with a sentence, and the page keeps showing
plan, allowance, and estimate, which are our own. Without the database everything is `unavailable`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from uuid import uuid4

from aisaas import formats
from aisaas.accounts.models import Principal
from aisaas.billing import store
from aisaas.billing.models import Allowance
from aisaas.billing.plans import Plan
from aisaas.billing.quota import Quota
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import (
    BillingInvalid,
    DependencyError,
    PaymentsRefused,
    RateLimitedMinute,
    Unavailable,
)
from aisaas.ports import AttemptLimiter, Invoice, InvoicePreview, Payments, Window

log = logging.getLogger(__name__)

CENT = Decimal("0.01")
# No mistyped cap costs more than this: USD in a period.
HIGHEST_CAP_USD = Decimal(10_000)
INVOICES = 12
# Questions to the provider by one user: what it takes is limited for all users together.
QUESTIONS, QUESTION_SECONDS = 120, 600
OFF = "Paid plans aren't available here."
AWAY = "Stripe isn't responding, so nothing changed. Try again in a moment."
# What a bank says to a card, as Stripe passes it on.
DECLINED = frozenset(
    {
        "authentication_required",
        "card_declined",
        "expired_card",
        "incorrect_cvc",
        "processing_error",
        "subscription_payment_intent_requires_action",
    }
)
LIVE = frozenset({"trialing", "active", "past_due", "unpaid", "paused"})


@dataclass(frozen=True, slots=True)
class Estimate:
    """The next invoice by our own ledger, before tax and discounts. USD, whole cents.

    `base_usd` is 0 when nothing follows: the plan ends with the period.
    """

    base_usd: Decimal
    overage_tokens: int
    overage_usd: Decimal
    due_at: datetime

    @property
    def total_usd(self) -> Decimal:
        return self.base_usd + self.overage_usd


@dataclass(frozen=True, slots=True)
class Billing:
    """What the page shows of one's own account without asking the provider.

    `spent_usd` is what was used beyond what is included, in this period; `cap_usd` bounds it.
    `offers` are the plans that may be subscribed to, none where payments are off.
    """

    plan: Plan
    status: str
    ends_at: datetime | None
    allowance: Allowance
    cap_usd: Decimal
    spent_usd: Decimal
    own_cap: bool
    estimate: Estimate | None
    offers: Sequence[Plan]
    # Somebody who subscribed before gets no second trial.
    trial_possible: bool
    has_customer: bool


class Checkout:
    """Ways to pay, of one principal at a time."""

    def __init__(
        self,
        service: ServiceDatabase,
        user: UserDatabase,
        payments: Payments | None,
        limiter: AttemptLimiter,
        quota: Quota,
        plans: Mapping[str, Plan],
        *,
        page: str,
    ) -> None:
        """`page` is the address of the billing page, where the provider sends people back to."""
        self._service = service
        self._user = user
        self._payments = payments
        self._limiter = limiter
        self._quota = quota
        self._plans = plans
        self._page = page

    async def billing(self, principal: Principal) -> Billing:
        """The plan, what is used and what it costs; no request leaves us."""
        plan = self._quota.plan_of(principal)
        allowance = await self._quota.allowance(principal)
        before = await self._subscribed_before(principal)
        price = plan.price
        return Billing(
            plan=plan,
            status=principal.subscription_status,
            ends_at=principal.plan_ends_at,
            allowance=allowance,
            cap_usd=self._quota.cap_of(principal),
            spent_usd=cents(price.usd_for(allowance.beyond)) if price else Decimal(0),
            own_cap=principal.overage_cap_usd is not None,
            estimate=_estimate(principal, plan, allowance),
            offers=[each for each in self._plans.values() if each.price and self._payments],
            trial_possible=before == 0,
            has_customer=principal.metered_customer is not None,
        )

    async def subscribe(self, principal: Principal, plan_id: str) -> str:
        """The address where `plan_id` is subscribed to, or, for a subscriber, the portal's.

        Asking twice, in two tabs or by a double click, leads to the same page: it can be paid once.

        Raises:
            BillingInvalid: no such plan is sold.
            Unavailable: the provider or the database didn't answer.
        """
        payments = self._on()
        plan = self._plans.get(plan_id)
        if plan is None or plan.price is None:
            raise BillingInvalid(
                "That plan isn't available. Reload the page and choose another one."
            )
        async with self._asking(principal):
            customer = await self._customer(principal)
            held = await payments.subscriptions(customer)
            if any(each.status in LIVE for each in held):
                return await payments.portal(customer, return_url=self._page)
            return await payments.checkout(
                principal.user_id,
                customer,
                plan.id,
                trial_days=0 if held else plan.price.trial_days,
                attempt=_attempt(principal, [each.id for each in held]),
                success_url=f"{self._page}?checkout=done",
                cancel_url=f"{self._page}?checkout=cancelled",
            )

    async def switch(self, principal: Principal, plan_id: str) -> None:
        """Put a subscriber on another plan. A dearer one is paid for at once, or nothing changes.

        The portal can't do this: it changes no subscription that has usage in it.

        Raises:
            BillingInvalid: nothing to switch, no such plan, or the payment was declined.
        """
        payments, plan = self._on(), self._plans.get(plan_id)
        if plan is None or plan.price is None or principal.subscription is None:
            raise BillingInvalid(
                "That plan isn't available. Reload the page and choose another one."
            )
        if principal.subscription_status == "trialing" and not plan.price.trial_tokens:
            raise BillingInvalid(
                f"{plan.label} has no trial. You can switch to it when your trial ends."
            )
        present = self._quota.plan_of(principal).price
        dearer = present is None or plan.price.base_usd > present.base_usd
        async with self._asking(principal):
            try:
                await payments.switch(principal.subscription.id, plan.id, at_once=dearer)
            except PaymentsRefused as refused:
                if refused.code not in DECLINED:
                    raise
                raise BillingInvalid(
                    "Your payment didn't go through, so your plan hasn't changed. Check your card "
                    "in the billing portal and try again."
                ) from refused

    async def portal(self, principal: Principal) -> str:
        """The address where cards, invoices and the subscription are managed."""
        payments = self._on()
        if principal.metered_customer is None:
            raise BillingInvalid("You don't have a subscription yet. Choose a plan first.")
        async with self._asking(principal):
            return await payments.portal(principal.metered_customer, return_url=self._page)

    async def set_cap(self, principal: Principal, usd: Decimal | None) -> None:
        """Bound what is spent beyond the base price in a period; None for the plan's own bound.

        Raises:
            BillingInvalid: no amount of money.
        """
        if usd is not None and not (usd.is_finite() and 0 <= usd <= HIGHEST_CAP_USD):
            raise BillingInvalid(f"Enter an amount from $0 to {formats.price(HIGHEST_CAP_USD)}.")
        highest = principal.highest_cap_usd
        if usd is not None and highest is not None and usd > highest:
            raise BillingInvalid(
                f"The highest cap for your account is {formats.price(highest)}. To raise it, contact "
                "support."
            )
        try:
            async with self._user.as_user(principal.user_id) as session:
                await store.set_cap(session, principal.user_id, None if usd is None else cents(usd))
        except DependencyError as error:
            raise Unavailable from error

    async def invoices(self, principal: Principal) -> Sequence[Invoice]:
        """The newest, as the provider has them; none for somebody who never paid."""
        if self._payments is None or principal.metered_customer is None:
            return ()
        async with self._asking(principal):
            return await self._payments.invoices(principal.metered_customer, INVOICES)

    async def preview(self, principal: Principal) -> InvoicePreview | None:
        """The next invoice as the provider would write it now."""
        if self._payments is None or principal.subscription is None:
            return None
        async with self._asking(principal):
            return await self._payments.preview(principal.subscription.id)

    async def _customer(self, principal: Principal) -> str:
        """The one customer of this user. Whoever stores first wins, and the provider makes one for
        all who ask at once."""
        if principal.metered_customer is not None:
            return principal.metered_customer
        made = await self._on().customer(
            principal.user_id, principal.email, principal.full_name or principal.email
        )
        async with self._service.transaction() as session:
            return await store.set_customer(session, principal.user_id, made)

    async def _subscribed_before(self, principal: Principal) -> int:
        try:
            async with self._user.as_user(principal.user_id) as session:
                return await store.count_subscriptions(session, principal.user_id)
        except DependencyError as error:
            raise Unavailable from error

    @asynccontextmanager
    async def _asking(self, principal: Principal) -> AsyncGenerator[None]:
        await self._count(principal)
        try:
            yield
        except DependencyError as error:
            log.warning("billing: %s", error)
            raise Unavailable(AWAY) from error
        except PaymentsRefused as error:
            # Ours to repair: a price that isn't there, a key without the right.
            log.exception("the payment provider refused: %s", error.code)
            raise Unavailable(
                "Stripe rejected this, so nothing changed. We've been notified. Try again later."
            ) from error

    async def _count(self, principal: Principal) -> None:
        """Raises RateLimitedMinute. Nothing is spent here: what can't be counted goes through."""
        window = Window(f"billing:{principal.user_id}", QUESTIONS, QUESTION_SECONDS)
        try:
            wait = await self._limiter.attempt(uuid4(), [window])
        except DependencyError:
            log.warning("questions to the payment provider are not counted: no Redis")
            return
        if wait is not None:
            raise RateLimitedMinute(
                "You've tried this too often.",
                retry_at=principal.read_at + timedelta(seconds=wait),
            )

    def _on(self) -> Payments:
        if self._payments is None:
            raise BillingInvalid(OFF)
        return self._payments


def cents(usd: Decimal) -> Decimal:
    """Rounded half up, as invoices are."""
    return usd.quantize(CENT, ROUND_HALF_UP)


def _estimate(principal: Principal, plan: Plan, allowance: Allowance) -> Estimate | None:
    if plan.price is None or principal.subscription is None:
        return None
    ends = principal.plan_ends_at
    over = ends is not None and ends <= allowance.period_end
    # What a trial used is free.
    beyond = 0 if principal.subscription_status == "trialing" else allowance.beyond
    return Estimate(
        base_usd=Decimal(0) if over else plan.price.base_usd,
        overage_tokens=beyond,
        overage_usd=cents(plan.price.usd_for(beyond)),
        due_at=allowance.period_end,
    )


def _attempt(principal: Principal, held: Sequence[str]) -> str:
    """The same until a subscription comes of it, or the day is over: a Checkout page lives as long."""
    said = [str(principal.user_id), *sorted(held), principal.read_at.date().isoformat()]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
