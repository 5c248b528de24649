"""`stripe verify`: does Stripe bill what the ledger's rules say?

Each sequence is a customer on a test clock who goes through months of a subscription. The ledger's
rules say what their invoices should contain; Stripe says what they do contain.

Invariant: nothing is assumed about Stripe, so a sequence that Stripe refuses is a difference too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import zip_longest
from uuid import uuid4

from aisaas.adapters.stripe_client import connect
from aisaas.adapters.stripe_objects import Item, StripeSubscription
from aisaas.adapters.stripe_payments import StripePayments
from aisaas.adapters.stripe_simulation import (
    FAILING_CARD,
    GOOD_CARD,
    Invoiced,
    Simulation,
    delete_leftovers,
    simulated,
)
from aisaas.billing.plans.terms import Plan, plans
from aisaas.billing.ports import MeterEvent
from aisaas.billing.reservations.quota import beyond_included, price_of
from aisaas.billing.subscriptions.checkout import cents, upgraded
from aisaas.errors import PaymentsError, PaymentsRefused
from aisaas.settings import Settings

MINUTE, HOUR, DAY = 60, 3600, 86_400
# Past the hour that a renewal's invoice stays a draft.
FINAL_SECONDS = 2 * HOUR
MILLIONTHS = 1_000_000
METERED_SECONDS = 120.0
POLL_SECONDS = 0.5
# Stripe takes about 25 calls a second in test mode.
AT_ONCE = 3
# An odd number, so that what it costs is no whole number of cents.
EXTRA_TOKENS = 123_457
BASE, CHANGE, EXTRA = "base price", "plan change", "extra usage"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that both sides have a value for."""

    what: str
    ours: str
    stripe: str

    @property
    def equal(self) -> bool:
        return self.ours == self.stripe


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a sequence. `error` is why it couldn't be finished."""

    sequence: str
    rows: Sequence[Row]
    error: str | None = None

    @property
    def equal(self) -> bool:
        return self.error is None and all(row.equal for row in self.rows)


@dataclass(slots=True)
class Ledger:
    """A period by the rules of settlement: what is included, and what is charged beyond it."""

    included: int
    used: int = 0
    charged_tokens: int = 0
    usd: Decimal = Decimal(0)

    def use(self, tokens: int, plan: Plan) -> int:
        """Millionths of a dollar that a reply of so many quota tokens costs extra."""
        assert plan.price is not None
        self.used += tokens
        beyond = beyond_included(self.used, tokens, self.included)
        left = max(plan.price.default_cap_usd - self.usd, Decimal(0))
        beyond = min(beyond, plan.price.tokens_for(left))
        usd = price_of(beyond, plan.price.overage_usd_per_million)
        self.charged_tokens += beyond
        self.usd += usd
        return int(usd * MILLIONTHS)

    def upgrade(self, included: int) -> None:
        """What was charged until now doesn't count against what is included from now on."""
        self.used, self.charged_tokens = self.used - self.charged_tokens, 0
        self.included = included

    @property
    def cents(self) -> int:
        return int(cents(self.usd) * 100)


@dataclass
class Case:
    """A subscriber in a sequence: what was done, and what has to be on each invoice."""

    customer: Simulation
    payments: StripePayments
    small: Plan
    large: Plan
    rows: list[Row]
    expected: list[Mapping[str, int]] = field(default_factory=list[Mapping[str, int]])
    run: str = field(default_factory=lambda: uuid4().hex[:12])
    # The subscription's, once there is one.
    id: str = field(init=False)
    plan: Plan = field(init=False)
    ledger: Ledger = field(init=False)
    started: int = field(init=False)
    # The number of the invoice whose payment fails; 0 for none.
    unpaid: int = 0
    sent: int = 0
    events: int = 0

    async def subscribe(self, plan: Plan, *, trial_days: int = 0) -> None:
        made = await self.customer.subscribe(plan.id, trial_days=trial_days)
        self.id, self.plan = made.id, plan
        self.ledger = Ledger(plan.tokens_per_month)
        self.started = self.customer.now
        self.expected.append({BASE: 0 if trial_days else _base(plan)})
        # The next step happens at another second, so the invoices have an order.
        await self.customer.advance(self.customer.now + DAY)

    async def use(self, tokens: int) -> None:
        """Three replies; what they cost extra goes to the meter, and is there when this returns."""
        for part in (tokens // 3, tokens // 3, tokens - 2 * (tokens // 3)):
            micro_usd = self.ledger.use(part, self.plan)
            if micro_usd == 0:
                continue
            self.events += 1
            await self.payments.report_usage(
                MeterEvent(
                    identifier=f"verify-{self.run}-{self.events}",
                    customer_id=self.customer.customer_id,
                    value=micro_usd,
                    at=self.customer.time,
                )
            )
            self.sent += micro_usd
        await self._metered()

    async def use_extra(self) -> None:
        """All that is still included, and some more."""
        await self.use(max(self.ledger.included - self.ledger.used, 0) + EXTRA_TOKENS)

    async def _metered(self) -> None:
        """Meters count a little later. What they never count is a difference on the invoice."""
        start = datetime.fromtimestamp(self.started // MINUTE * MINUTE, UTC)
        end = datetime.fromtimestamp((self.customer.now // MINUTE + 2) * MINUTE, UTC)
        deadline = time.monotonic() + METERED_SECONDS
        while time.monotonic() < deadline:
            counted = await self.payments.reported_usage(self.customer.customer_id, start, end)
            if counted == self.sent:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def upgrade(self, plan: Plan) -> None:
        base = await self.base_item()
        start, end = _period(base)
        now, more = self.customer.now, plan.tokens_per_month - self.plan.tokens_per_month
        allowance = upgraded(
            _at(start), _at(end), _at(now), included=self.ledger.included, more=max(more, 0)
        )
        await self.payments.switch(self.id, plan.id, allowance=allowance)
        left = Fraction(end - now, end - start)
        credit, charge = _share(self.plan, left), _share(plan, left)
        self.expected.append({CHANGE: charge - credit})
        self.plan = plan
        self.ledger.upgrade(allowance.tokens)
        seen = await self.payments.subscription(self.id)
        included = seen.period_tokens if seen else None
        self.row("tokens included after the upgrade", allowance.tokens, included)
        await self.customer.advance(now + DAY)

    async def half(self) -> None:
        """To the middle of the period."""
        start, end = _period(await self.base_item())
        await self.customer.advance((start + end) // 2)

    async def renew(
        self, plan: Plan | None = None, *, status: str = "active", after: int = FINAL_SECONDS
    ) -> None:
        """Past the end of the period; `plan` is the next one's, where it is another."""
        _, end = _period(await self.base_item())
        await self.customer.advance(end + after)
        self.plan = plan or self.plan
        self.expected.append({BASE: _base(self.plan), EXTRA: self.ledger.cents})
        self.ledger = Ledger(self.plan.tokens_per_month)
        await self.check_status(status)

    async def expire(self) -> None:
        """Past the end of the last period."""
        _, end = _period(await self.base_item())
        await self.customer.advance(end + FINAL_SECONDS)
        self.expected.append({EXTRA: self.ledger.cents})
        await self.check_status("canceled")

    async def check_status(self, status: str) -> None:
        self.row("subscription", status, (await self._subscription()).status)

    async def check_plan(self, plan: Plan) -> None:
        seen = await self.payments.subscription(self.id)
        self.row("plan", plan.id, seen.plan if seen else None)

    def row(self, what: str, ours: object, stripe: object) -> None:
        self.rows.append(Row(what, str(ours), str(stripe)))

    def money(self, what: str, ours: int, stripe: int) -> None:
        self.row(what, _usd(ours), _usd(stripe))

    async def compare(self) -> None:
        """Every invoice, by what it is for."""
        extra = (await self.customer.prices(self.small.id)).extra
        found = await self.customer.invoices()
        for number, (ours, invoice) in enumerate(zip_longest(self.expected, found), start=1):
            theirs = _by_kind(invoice, extra)
            for kind in (BASE, CHANGE, EXTRA):
                if (ours is not None and kind in ours) or theirs.get(kind):
                    what = f"invoice {number}, {kind}"
                    self.money(what, (ours or {}).get(kind, 0), theirs.get(kind, 0))
            expected = "open" if number == self.unpaid else "paid"
            ours_is = "no invoice" if ours is None else expected
            self.row(f"invoice {number}", ours_is, invoice.status if invoice else "no invoice")

    async def _subscription(self) -> StripeSubscription:
        return await self.customer.subscription(self.id)

    async def base_item(self) -> Item:
        base = (await self._subscription()).base
        if base is None:
            raise PaymentsRefused("no_base_price", "The subscription has no base price.")
        return base


# The sequences: each is what a customer may do, with the expected result beside each step.


async def _included_and_extra(case: Case) -> None:
    await case.subscribe(case.small)
    await case.use(case.small.tokens_per_month // 2)
    await case.use_extra()
    await case.renew()


async def _upgrade(case: Case) -> None:
    await case.subscribe(case.small)
    await case.use_extra()
    await case.half()
    await case.upgrade(case.large)
    await case.use_extra()
    await case.renew()


async def _downgrade(case: Case) -> None:
    await case.subscribe(case.large)
    await case.use_extra()
    await case.payments.switch_later(case.id, case.small.id)
    await case.check_plan(case.large)
    try:
        await case.customer.end_with_period(case.id, ends=True)
        canceled = "possible"
    except PaymentsRefused:
        canceled = "refused"
    case.row("canceling while a switch is scheduled", "refused", canceled)
    await case.renew(case.small)
    await case.check_plan(case.small)
    # As the app does as soon as the schedule has done its work: only then can it be canceled.
    await case.payments.keep_plan(case.id)
    await case.customer.end_with_period(case.id, ends=True)


async def _downgrade_taken_back(case: Case) -> None:
    await case.subscribe(case.large)
    await case.payments.switch_later(case.id, case.small.id)
    await case.payments.keep_plan(case.id)
    await case.use_extra()
    await case.renew()
    await case.check_plan(case.large)


async def _cancel_and_resume(case: Case) -> None:
    await case.subscribe(case.small)
    await case.customer.end_with_period(case.id, ends=True)
    await case.use_extra()
    await case.customer.end_with_period(case.id, ends=False)
    await case.renew()
    await case.check_status("active")


async def _cancel(case: Case) -> None:
    await case.subscribe(case.small)
    await case.use_extra()
    await case.customer.end_with_period(case.id, ends=True)
    await case.expire()


async def _late_payment(case: Case) -> None:
    await case.subscribe(case.small)
    await case.use_extra()
    await case.customer.pay_with(FAILING_CARD)
    await case.renew(status="past_due")
    await case.customer.pay_with(GOOD_CARD)
    for invoice in await case.customer.invoices():
        if invoice.status == "open":
            await case.customer.pay(invoice.id)
    await case.check_status("active")


async def _given_up(case: Case) -> None:
    """What is used before the renewal is known to be unpaid is on no invoice: it is written off."""
    await case.subscribe(case.small)
    await case.customer.pay_with(FAILING_CARD)
    await case.renew(status="active", after=HOUR // 2)
    await case.use_extra()
    # The last retry is two weeks after the first try, unless the account has another setting.
    _, end = _period(await case.base_item())
    await case.customer.advance(end + DAY)
    await case.check_status("canceled")
    case.unpaid = 2


async def _refund(case: Case) -> None:
    await case.subscribe(case.small)
    await case.use_extra()
    first = (await case.customer.invoices())[0]
    charge = await case.customer.refund(first.id)
    paid_for = await case.payments.paid_for(charge) if charge else None
    known = paid_for is not None and paid_for.id == first.id
    case.row("invoice of the refund", "found", "found" if known else "not found")
    case.money("refunded", _base(case.small), await case.customer.refunded())
    await case.renew()


async def _duplicate(case: Case) -> None:
    """Usage is never on two invoices: the second subscription's has none, and is refunded."""
    await case.subscribe(case.small)
    await case.use_extra()
    second = await case.customer.subscribe(case.large.id)
    case.expected.append({BASE: _base(case.large)})
    await case.customer.advance(case.customer.now + DAY)
    ended = await case.payments.end_subscription(second.id, refund=True)
    case.money("refunded", _base(case.large), ended.refunded)
    await case.renew()


async def _trial(case: Case) -> None:
    plan = case.large if case.large.price and case.large.price.trial_days else case.small
    assert plan.price is not None
    await case.subscribe(plan, trial_days=plan.price.trial_days)
    await case.check_status("trialing")
    await case.renew()


SEQUENCES: Mapping[str, Callable[[Case], Awaitable[None]]] = {
    "included and extra usage": _included_and_extra,
    "upgrade in mid-period": _upgrade,
    "downgrade at the period's end": _downgrade,
    "downgrade taken back": _downgrade_taken_back,
    "cancel and resume": _cancel_and_resume,
    "cancel": _cancel,
    "payment fails, then succeeds": _late_payment,
    "no payment succeeds": _given_up,
    "refund": _refund,
    "second subscription": _duplicate,
    "trial": _trial,
}


async def verify(config: Settings, *, progress: Callable[[str], None]) -> Sequence[Outcome]:
    """Run all sequences in the current key's account, which has to be a test key.

    Raises:
        PaymentsError, PaymentsRefused: nothing was started.
    """
    assert config.stripe_secret_key is not None
    key = config.stripe_secret_key.get_secret_value()
    sold = [plan for plan in plans(config).values() if plan.price is not None]
    client, http = connect(key, config.stripe_api_base)
    payments = StripePayments(key, api_base=config.stripe_api_base)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Outcome:
        rows: list[Row] = []
        try:
            async with turns:
                progress(f"{name} …")
                async with simulated(client, name) as customer:
                    case = Case(customer, payments, sold[0], sold[-1], rows)
                    await SEQUENCES[name](case)
                    await case.compare()
        except (PaymentsError, PaymentsRefused) as error:
            return Outcome(name, rows, str(error))
        return Outcome(name, rows)

    try:
        if left := await delete_leftovers(client):
            progress(f"Deleted {left} test clocks of runs that were killed.")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(name)) for name in _possible(sold)]
        return [task.result() for task in tasks]
    finally:
        await payments.close()
        await http.close_async()


def _possible(sold: Sequence[Plan]) -> Sequence[str]:
    trials = any(plan.price and plan.price.trial_days for plan in sold)
    return [name for name in SEQUENCES if name != "trial" or trials]


def _by_kind(invoice: Invoiced | None, extra: str) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for line in invoice.lines.data if invoice else ():
        kind = CHANGE if line.proration else EXTRA if line.price_id == extra else BASE
        found[kind] = found.get(kind, 0) + line.amount
    return found


def _base(plan: Plan) -> int:
    assert plan.price is not None
    return int(plan.price.base_usd * 100)


def _share(plan: Plan, left: Fraction) -> int:
    """Cents of a base price for a part of its period, half up."""
    return int(_base(plan) * left + Fraction(1, 2))


def _period(item: Item) -> tuple[int, int]:
    if item.current_period_start is None or item.current_period_end is None:
        raise PaymentsRefused("no_period", "The base price has no period.")
    return item.current_period_start, item.current_period_end


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _usd(amount: int) -> str:
    return f"{'-' if amount < 0 else ''}${abs(amount) / 100:,.2f}"
