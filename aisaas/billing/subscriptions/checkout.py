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
from aisaas.accounts import plans as held_plans
from aisaas.accounts.ports import Limiter, Window
from aisaas.billing.plans.models import BillingAccount
from aisaas.billing.plans.terms import Plan
from aisaas.billing.ports import Invoice, InvoicePreview, Payments, PeriodAllowance
from aisaas.billing.reservations.models import Allowance
from aisaas.billing.reservations.quota import Quota
from aisaas.billing.subscriptions import store as subscriptions_store
from aisaas.billing.subscriptions.subscriptions import Subscriptions
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import (
    CHECKOUT_PAID,
    BillingInvalid,
    DependencyError,
    PaymentsRefused,
    RateLimitedMinute,
    Unavailable,
)

log = logging.getLogger(__name__)

CENT = Decimal("0.01")
# No mistyped cap costs more than this: USD in a period.
HIGHEST_CAP_USD = Decimal(10_000)
INVOICES = 12
# Questions to the provider by one user: what it takes is limited for all users together.
QUESTIONS, QUESTION_SECONDS = 120, 600
OFF = "Paid plans aren't available here."
AWAY = "Stripe isn't responding, so nothing changed. Try again in a moment."
# A bank's decline codes, as Stripe passes them on.
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

    `base_usd` is for `plan`, the next period's; it is 0 if the plan ends with the period.
    """

    plan: Plan
    base_usd: Decimal
    overage_tokens: int
    overage_usd: Decimal
    due_at: datetime

    @property
    def total_usd(self) -> Decimal:
        return self.base_usd + self.overage_usd


@dataclass(frozen=True, slots=True)
class Billing:
    """What the page shows of the user's account without asking the provider.

    `spent_usd` is this period's extra usage; `cap_usd` bounds it. `offers` are the plans the user may
    subscribe to, none where payments are off.
    """

    plan: Plan
    status: str
    ends_at: datetime | None
    allowance: Allowance
    cap_usd: Decimal
    spent_usd: Decimal
    own_cap: bool
    estimate: Estimate | None
    # The plan that begins when the period ends, where it is another one.
    next_plan: Plan | None
    offers: Sequence[Plan]
    # A user who subscribed before gets no second trial.
    trial_possible: bool
    has_customer: bool


class Checkout:
    """Ways to pay, of one account at a time."""

    def __init__(
        self,
        service: ServiceDatabase,
        user: UserDatabase,
        payments: Payments | None,
        limiter: Limiter,
        quota: Quota,
        plans: Mapping[str, Plan],
        subscriptions: Subscriptions | None,
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
        self._subscriptions = subscriptions
        self._page = page

    async def billing(self, account: BillingAccount) -> Billing:
        """The plan, what is used and what it costs; no request leaves us."""
        plan = self._quota.plan_of(account)
        allowance = await self._quota.allowance(account)
        before = await self._subscribed_before(account)
        price = plan.price
        found = account.subscription
        following = self._plans.get(found.next_plan or "") if found else None
        return Billing(
            plan=plan,
            status=account.subscription_status,
            ends_at=account.plan_ends_at,
            allowance=allowance,
            cap_usd=self._quota.cap_of(account),
            spent_usd=cents(allowance.billed_usd) if price else Decimal(0),
            own_cap=account.overage_cap_usd is not None,
            estimate=_estimate(account, following or plan, allowance),
            next_plan=following,
            offers=[each for each in self._plans.values() if each.price and self._payments],
            trial_possible=before == 0,
            has_customer=account.metered_customer is not None,
        )

    async def subscribe(self, account: BillingAccount, plan_id: str) -> str:
        """The address where `plan_id` is subscribed to, or, for a subscriber, the portal's.

        Asking twice, in two tabs or by a double click, leads to the same page: it can be paid once.
        Asking for another plan closes the page of the first.

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
        async with self._asking(account):
            customer = await self._customer(account)
            held = await payments.subscriptions(customer)
            if any(each.status in LIVE for each in held):
                return await payments.portal(customer, return_url=self._page)
            try:
                return await payments.checkout(
                    account.user_id,
                    customer,
                    plan.id,
                    trial_days=0 if held else plan.price.trial_days,
                    attempt=_attempt(account, [each.id for each in held]),
                    success_url=f"{self._page}?checkout=done",
                    cancel_url=f"{self._page}?checkout=cancelled",
                )
            except PaymentsRefused as refused:
                if refused.code != CHECKOUT_PAID:
                    raise
                return await payments.portal(customer, return_url=self._page)

    async def switch(self, account: BillingAccount, plan_id: str) -> bool:
        """Switch a subscriber to another plan: to a more expensive one now, paid at once, or nothing
        changes; to a cheaper one when the period ends. In a trial either starts now, without a
        payment. Returns whether it starts now.

        The portal can't do this: it changes no subscription with metered usage.

        Raises:
            BillingInvalid: nothing to switch, no such plan, or the payment was declined.
        """
        payments, plan = self._on(), self._plans.get(plan_id)
        if plan is None or plan.price is None or account.subscription is None:
            raise BillingInvalid(
                "That plan isn't available. Reload the page and choose another one."
            )
        if account.subscription_status == "trialing" and not plan.price.trial_tokens:
            raise BillingInvalid(
                f"{plan.label} has no trial. You can switch to it when your trial ends."
            )
        if account.subscription_status == "past_due":
            raise BillingInvalid("Pay your open invoice first. Then you can switch plans.")
        given, trial = account.subscription.id, account.subscription_status == "trialing"
        async with self._asking(account):
            if not trial and not is_dearer(plan, self._quota.plan_of(account)):
                if account.plan_ends_at is not None:
                    raise BillingInvalid("Resume your plan first. Then you can switch plans.")
                await payments.switch_later(given, plan.id)
                await self._look(account)
                return False
            # A switch that was to come would undo this one.
            await payments.keep_plan(given)
            try:
                await payments.switch(
                    given, plan.id, allowance=None if trial else self._upgraded(account, plan)
                )
            except PaymentsRefused as refused:
                if refused.code not in DECLINED:
                    raise
                raise BillingInvalid(
                    "Your payment didn't go through, so your plan hasn't changed. Check your card "
                    "in the billing portal and try again."
                ) from refused
            await self._look(account)
            return True

    async def keep_plan(self, account: BillingAccount) -> None:
        """Take back a switch to a cheaper plan that was to come.

        Raises:
            BillingInvalid: there is no subscription.
        """
        payments = self._on()
        if account.subscription is None:
            raise BillingInvalid("You don't have a subscription yet. Choose a plan first.")
        async with self._asking(account):
            await payments.keep_plan(account.subscription.id)
            await self._look(account)

    async def _look(self, account: BillingAccount) -> None:
        """What was just changed is known at once; otherwise by a webhook, or the daily look."""
        if self._subscriptions is None or account.metered_customer is None:
            return
        try:
            await self._subscriptions.synchronise_customer(
                account.metered_customer, user_id=account.user_id
            )
        except DependencyError as error:
            log.warning("what was changed is looked at later: %s", error)

    def _upgraded(self, account: BillingAccount, plan: Plan) -> PeriodAllowance:
        """What the running period includes after an upgrade."""
        found = account.subscription
        assert found is not None
        present = self._quota.plan_of(account).tokens_per_month
        included = found.period_tokens if found.period_tokens is not None else present
        more = max(plan.tokens_per_month - present, 0)
        return upgraded(
            found.period_start, found.period_end, account.read_at, included=included, more=more
        )

    async def portal(self, account: BillingAccount) -> str:
        """The address where cards, invoices and the subscription are managed."""
        payments = self._on()
        if account.metered_customer is None:
            raise BillingInvalid("You don't have a subscription yet. Choose a plan first.")
        async with self._asking(account):
            return await payments.portal(account.metered_customer, return_url=self._page)

    async def set_cap(self, account: BillingAccount, usd: Decimal | None) -> None:
        """Cap the spending beyond the base price in a period; None for the plan's own cap.

        Raises:
            BillingInvalid: not an amount of money.
        """
        if usd is not None and not (usd.is_finite() and 0 <= usd <= HIGHEST_CAP_USD):
            raise BillingInvalid(f"Enter an amount from $0 to {formats.price(HIGHEST_CAP_USD)}.")
        highest = account.highest_cap_usd
        if usd is not None and highest is not None and usd > highest:
            raise BillingInvalid(
                f"The highest cap for your account is {formats.price(highest)}. To raise it, contact "
                "support."
            )
        try:
            async with self._user.as_user(account.user_id) as session:
                await held_plans.set_cap(
                    session, account.user_id, None if usd is None else cents(usd)
                )
        except DependencyError as error:
            raise Unavailable from error

    async def invoices(self, account: BillingAccount) -> Sequence[Invoice]:
        """The newest, as the provider has them; none for a user who never paid."""
        if self._payments is None or account.metered_customer is None:
            return ()
        async with self._asking(account):
            return await self._payments.invoices(account.metered_customer, INVOICES)

    async def preview(self, account: BillingAccount) -> InvoicePreview | None:
        """The next invoice as the provider would write it now."""
        if self._payments is None or account.subscription is None:
            return None
        async with self._asking(account):
            return await self._payments.preview(account.subscription.id)

    async def _customer(self, account: BillingAccount) -> str:
        """The one customer of this user. The first one stored wins, and the provider makes one for
        concurrent requests."""
        if account.metered_customer is not None:
            return account.metered_customer
        made = await self._on().customer(
            account.user_id, account.email, account.full_name or account.email
        )
        async with self._service.transaction() as session:
            return await held_plans.set_customer(session, account.user_id, made)

    async def _subscribed_before(self, account: BillingAccount) -> int:
        try:
            async with self._user.as_user(account.user_id) as session:
                return await subscriptions_store.count_subscriptions(session, account.user_id)
        except DependencyError as error:
            raise Unavailable from error

    @asynccontextmanager
    async def _asking(self, account: BillingAccount) -> AsyncGenerator[None]:
        await self._count(account)
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

    async def _count(self, account: BillingAccount) -> None:
        """Raises RateLimitedMinute. No money is spent here: requests pass if they can't be counted."""
        window = Window(f"billing:{account.user_id}", QUESTIONS, QUESTION_SECONDS)
        try:
            full = await self._limiter.acquire(uuid4(), [window])
        except DependencyError:
            log.warning("questions to the payment provider are not counted: no Redis")
            return
        if full is not None:
            raise RateLimitedMinute(
                "You've tried this too often.",
                retry_at=account.read_at + timedelta(seconds=full.seconds),
            )

    def _on(self) -> Payments:
        if self._payments is None:
            raise BillingInvalid(OFF)
        return self._payments


def upgraded(
    start: datetime, end: datetime, at: datetime, *, included: int, more: int
) -> PeriodAllowance:
    """What a period includes after an upgrade at an instant of it: what it did, and of what the new plan
    has `more` the share of the period that is left, which is what is paid for it."""
    left = max(min((end - at) / (end - start), 1.0), 0.0)
    return PeriodAllowance(start, included + int(more * left))


def is_dearer(plan: Plan, than: Plan) -> bool:
    """Whether it is an upgrade, which begins at once."""
    assert plan.price is not None
    return than.price is None or plan.price.base_usd > than.price.base_usd


def cents(usd: Decimal) -> Decimal:
    """Rounded half up, as invoices are."""
    return usd.quantize(CENT, ROUND_HALF_UP)


def _estimate(account: BillingAccount, plan: Plan, allowance: Allowance) -> Estimate | None:
    if plan.price is None or account.subscription is None:
        return None
    ends = account.plan_ends_at
    over = ends is not None and ends <= allowance.period_end
    # The meter receives what the ledger charged, so that is what the invoice will say.
    return Estimate(
        plan=plan,
        base_usd=Decimal(0) if over else plan.price.base_usd,
        overage_tokens=allowance.billed_tokens,
        overage_usd=cents(allowance.billed_usd),
        due_at=allowance.period_end,
    )


def _attempt(account: BillingAccount, held: Sequence[str]) -> str:
    """The same until a subscription comes of it, or the day is over: a Checkout page lives as long."""
    said = [str(account.user_id), *sorted(held), account.read_at.date().isoformat()]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
