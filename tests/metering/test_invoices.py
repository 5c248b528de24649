"""What Stripe invoices as extra usage is what the ledger has charged, to the cent, whatever becomes of a
subscription. Generated lives, by the real SDK against the fake, with the real database between them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stripe import StripeClient, StripeError

from aisaas.accounts import people
from aisaas.adapters.redis_client import make_listening_redis, make_redis
from aisaas.adapters.redis_limiter import RedisLimiter
from aisaas.adapters.redis_signals import RedisSignals
from aisaas.adapters.stripe_catalogue import StripeCatalogue
from aisaas.adapters.stripe_payments import StripePayments
from aisaas.adapters.stripe_webhooks import read_event
from aisaas.billing.ledger.models import Charge
from aisaas.billing.metering.outbox import Outbox
from aisaas.billing.plans.models import BillingAccount, RateLimits
from aisaas.billing.plans.periods import running
from aisaas.billing.plans.terms import Plan, PlanPrice
from aisaas.billing.reservations.quota import Quota, book
from aisaas.billing.subscriptions.checkout import Checkout, cents
from aisaas.billing.subscriptions.events import StripeEvents
from aisaas.billing.subscriptions.models import AfterRefund
from aisaas.billing.subscriptions.subscriptions import Subscriptions
from aisaas.billing.subscriptions.tasks import SubscriptionTasks
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import BillingInvalid, QuotaExceeded, Refusal
from devstack.stack import Stack
from devstack.tests.payments_client import (
    KEY,
    Counterpart,
    control,
    counterpart,
    sdk,
    variables_for,
)
from devstack.tests.payments_shop import DAY, HOUR
from tests.billing.conftest import charge, claim
from tests.billing.webhooks import GRACE
from tests.metering.provider import Sql

PLENTY = Decimal(1_000_000)
RATES = RateLimits(1_000, 1_000)
# A token costs about a cent, and never a whole number of them.
FREE = Plan("free", "Free", RATES, 300, 5)
PRO = Plan(
    "pro",
    "Pro",
    RATES,
    1_000,
    5,
    PlanPrice(Decimal(20), Decimal("12345.678"), Decimal("9.99"), trial_days=0, trial_tokens=0),
)
BUSINESS = Plan(
    "business",
    "Business",
    RATES,
    5_000,
    5,
    PlanPrice(Decimal(100), Decimal("7654.321"), Decimal(20), trial_days=7, trial_tokens=400),
)
PLANS = {plan.id: plan for plan in (FREE, PRO, BUSINESS)}
GOOD, FAILING = "pm_card_visa", "pm_card_chargeCustomerFail"
STEPS = (
    "subscribe pro",
    "subscribe business",
    "beside pro",
    "beside business",
    "use 90",
    "use 700",
    "use 2500",
    "begin 700",
    "begin 2500",
    "finish",
    "credit 400",
    "switch pro",
    "switch business",
    "keep",
    "cancel",
    "resume",
    "break card",
    "mend card",
    "pay",
    "refund",
    "refund all",
    "give up",
    "wait",
    "renew",
    "renew early",
)


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Generator[Counterpart]:
    with counterpart(variables_for(tmp_path_factory.mktemp("invoices") / "books")) as running:
        yield running


@dataclass
class Life:
    """A user, what they do, and what Stripe and the database make of it."""

    sql: Sql
    service: ServiceDatabase
    client: StripeClient
    control: httpx.AsyncClient
    checkout: Checkout
    events: StripeEvents
    tasks: SubscriptionTasks
    outbox: Outbox
    quota: Quota
    subscriptions: Subscriptions
    user_id: UUID = field(default_factory=uuid4)
    known: set[str] = field(default_factory=set[str])
    # Replies that have begun: what settles them, whatever has changed meanwhile.
    flying: list[tuple[Plan, Charge]] = field(default_factory=list[tuple[Plan, Charge]])
    did: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        email = f"{self.user_id}@example.com"
        self.sql("insert into auth.users (id, email) values (%s, %s)", self.user_id, email)

    async def account(self) -> BillingAccount:
        async with self.service.transaction() as session:
            found = await people.summary(session, self.user_id)
        assert found is not None
        return BillingAccount(
            user_id=self.user_id,
            email=found.email,
            full_name="",
            plan=found.plan,
            subscription_status=found.subscription_status,
            subscription=found.subscription,
            plan_ends_at=found.plan_ends_at,
            overage_cap_usd=found.overage_cap_usd,
            requests_per_minute=None,
            requests_per_day=None,
            tokens_per_month=None,
            parallel_replies=None,
            highest_cap_usd=None,
            metered_customer=found.metered_customer,
            read_at=found.read_at,
        )

    async def live(self) -> Any:
        """The subscription at Stripe, or None."""
        customer = (await self.account()).metered_customer
        if customer is None:
            return None
        listed = await self.client.v1.subscriptions.list_async({"customer": customer})
        assert len(listed.data) <= 1
        return listed.data[0] if listed.data else None

    async def step(self, wanted: str) -> None:
        """What can't be done at this moment is refused, and that is all right."""
        doing, _, what = wanted.partition(" ")
        self.did.append(wanted)
        try:
            await DOINGS[doing](self, what)
        except (BillingInvalid, QuotaExceeded, StripeError, Refusal) as refused:
            self.did[-1] += f" ({type(refused).__name__})"
        await self.catch_up()

    async def catch_up(self) -> None:
        """Webhooks arrive, usage goes out."""
        page = await self.client.v1.events.list_async({"limit": 100})
        new = [each for each in page.data if each.id not in self.known]
        assert len(new) < 100, "one page isn't all of it"
        for each in reversed(new):
            self.known.add(each.id)
            await self.events.process(read_event(str(each).encode()))
        if await self.tasks.run_once():
            return await self.catch_up()
        self.sql("update private.metering set paused_until = now(), spent_until = now()")
        await self.outbox.deliver_due()
        self.sql("update usage_outbox set next_attempt_at = now() where state = 'pending'")
        await self.outbox.deliver_due()
        return None

    async def subscribe_beside(self, plan: str) -> None:
        """As another tab that nobody knows of, or a page that was open since yesterday."""
        customer = (await self.account()).metered_customer
        if customer is None:
            return
        # Creation times have whole seconds, so the two need different ones.
        await self.next_second()
        keys = [f"{plan}_base", "extra_usage"]
        prices = await self.client.v1.prices.list_async({"lookup_keys": keys, "active": True})
        await self.client.v1.subscriptions.create_async(
            {
                "customer": customer,
                "items": [{"price": price.id} for price in prices.data],
                "metadata": {"user_id": str(self.user_id)},
                "payment_behavior": "error_if_incomplete",
            }
        )

    async def subscribe(self, plan: str) -> None:
        page = await self.checkout.subscribe(await self.account(), plan)
        if "/checkout/" in page:
            given = page.rsplit("/", 1)[-1]
            await self.control.post(
                f"/checkout/{given}/complete", json={"number": "4242424242424242"}
            )

    async def use(self, tokens: str) -> None:
        await self.begin(tokens)
        await self.settle(self.flying.pop())

    async def begin(self, tokens: str) -> None:
        """A reply that settles later, at the plan that it was admitted on."""
        who = await self.account()
        plan = self.quota.plan_of(who)
        held = claim(who.user_id, prompt=0, max_tokens=int(tokens), min_tokens=1, free=False)
        held = replace(held, limits=self.quota.limits_of(who), period=running(who), plan=who.plan)
        most = await self.quota.reserve(held)
        used = charge(held, min(int(tokens), most), customer=self._customer(who, plan))
        self.flying.append((plan, used))

    async def finish(self, _: str = "") -> None:
        while self.flying:
            await self.settle(self.flying.pop(0))

    async def settle(self, begun: tuple[Plan, Charge]) -> None:
        plan, used = begun
        async with self.service.transaction() as session:
            await book(session, _priced(used, plan))

    async def credit(self, tokens: str) -> None:
        self.sql(
            "insert into credit_grants (user_id, tokens, reason, granted_by) values (%s, %s, 'tests',"
            " 'tests')",
            self.user_id,
            int(tokens),
        )

    def _customer(self, who: BillingAccount, plan: Plan) -> str | None:
        return who.metered_customer if plan.metered else None

    async def switch(self, plan: str) -> None:
        await self.checkout.switch(await self.account(), plan)

    async def keep(self, _: str) -> None:
        await self.checkout.keep_plan(await self.account())

    async def cancel(self, _: str) -> None:
        await self._change(cancel_at_period_end=True)

    async def resume(self, _: str) -> None:
        await self._change(cancel_at_period_end=False)

    async def card(self, which: str) -> None:
        customer = (await self.account()).metered_customer
        if customer is not None:
            method = await self.client.v1.payment_methods.attach_async(
                which, {"customer": customer}
            )
            default: Any = {"invoice_settings": {"default_payment_method": method.id}}
            await self.client.v1.customers.update_async(customer, default)

    async def pay(self, _: str) -> None:
        for invoice in await self.invoices():
            if invoice.status == "open":
                await self.client.v1.invoices.pay_async(invoice.id)

    async def refund(self, how_much: str) -> None:
        """A part of the newest payment: the plan goes on. Or all of it, which suspends or ends it."""
        customer = (await self.account()).metered_customer
        if customer is not None:
            await self.next_second()
            listed = await self.client.v1.charges.list_async({"customer": customer})
            paid = [each for each in listed.data if each.paid and not each.refunded]
            if paid and how_much == "all":
                await self.client.v1.refunds.create_async({"charge": paid[0].id})
            elif paid:
                await self.client.v1.refunds.create_async({"charge": paid[0].id, "amount": 100})

    async def next_second(self) -> None:
        """Usage of the very second in which a subscription ends is behind its end."""
        began = int(time.time())
        while int(time.time()) == began:
            await asyncio.sleep(0.02)

    async def release(self, how: str, *, won: bool = False, which: int = 0) -> None:
        """All of a payment, the newest or another; in a dispute that is `won` nothing goes back."""
        customer = (await self.account()).metered_customer
        listed = await self.client.v1.charges.list_async({"customer": str(customer)})
        charge = listed.data[which].id
        if how == "refund":
            await self.client.v1.refunds.create_async({"charge": charge})
        else:
            opened = await self.control.post("/disputes", json={"charge": charge})
            opened.raise_for_status()
            status = "won" if won else "lost"
            await self.control.post(
                f"/disputes/{opened.json()['id']}/close", json={"status": status}
            )
        await self.catch_up()

    async def look(self) -> None:
        customer = str((await self.account()).metered_customer)
        await self.subscriptions.synchronise_customer(customer, user_id=self.user_id)

    async def wait(self, _: str) -> None:
        await self.advance(5 * DAY)

    async def give_up(self, _: str) -> None:
        """Behind the last retry."""
        await self.advance(21 * DAY)

    async def renew(self, when: str) -> None:
        found = await self.live()
        if found is None:
            return await self.advance(5 * DAY)
        now = (await self.control.get("/clock")).json()["now"]
        end = found["items"].data[0].current_period_end
        # Replies in flight end a little later, while the invoice is a draft.
        await self.pass_time(max(end - now, 0) + 600)
        await self.catch_up()
        if when == "early":
            return None
        # Behind the hour in which the invoice is a draft.
        return await self.advance(2 * HOUR)

    async def advance(self, seconds: int) -> None:
        """No reply lasts for days."""
        if self.flying:
            await self.finish()
            await self.catch_up()
        await self.pass_time(seconds)

    async def pass_time(self, seconds: int) -> None:
        answer = await self.control.post("/clock", json={"advance_seconds": seconds})
        answer.raise_for_status()

    async def _change(self, **values: Any) -> None:
        found = await self.live()
        if found is not None:
            await self.client.v1.subscriptions.update_async(found.id, values)  # pyright: ignore[reportArgumentType]

    async def invoices(self) -> list[Any]:
        customer = (await self.account()).metered_customer
        if customer is None:
            return []
        page = await self.client.v1.invoices.list_async({"customer": customer, "limit": 100})
        return [each async for each in page.auto_paging_iter()]

    async def end(self) -> None:
        """Whatever is still to be billed is."""
        await self.step("finish")
        await self.step("mend card")
        await self.step("pay")
        await self.next_second()
        found = await self.live()
        if found is not None:
            await self.client.v1.subscriptions.cancel_async(found.id)
            await self.catch_up()
            await self.advance(2 * HOUR)
        await self.catch_up()

    # The two sides

    def ledger(self) -> Mapping[str, Decimal]:
        """USD of each period, rounded as an invoice is."""
        rows = self.sql(
            "select period_key, sum(overage_usd) from usage_records where user_id = %s group by 1",
            self.user_id,
        )
        return {str(key): cents(Decimal(str(usd))) for key, usd in rows}

    async def invoiced(self) -> Mapping[str, Decimal]:
        """USD of extra usage, by the period that it was used in."""
        found: defaultdict[str, Decimal] = defaultdict(Decimal)
        for invoice in await self.invoices():
            for line in invoice.lines.data:
                detail = line.parent.subscription_item_details
                if line.pricing.unit_amount_decimal is not None and _extra(line):
                    found[f"{detail.subscription}:{line.period.start}"] += (
                        Decimal(line.amount) / 100
                    )
        return found

    def written_off(self) -> dict[str, Decimal]:
        rows = self.sql(
            "select period_key, usd from private.write_offs where user_id = %s", self.user_id
        )
        found = {str(key): cents(Decimal(str(usd))) for key, usd in rows}
        return {key: usd for key, usd in found.items() if usd}

    def spent(self) -> Mapping[str, Decimal]:
        rows = self.sql(
            "select period_key, billed_usd from quota_periods where user_id = %s", self.user_id
        )
        return {str(key): Decimal(str(usd)) for key, usd in rows}


DOINGS: Mapping[str, Callable[[Life, str], Awaitable[None]]] = {
    "subscribe": Life.subscribe,
    "beside": Life.subscribe_beside,
    "use": Life.use,
    "begin": Life.begin,
    "finish": Life.finish,
    "credit": Life.credit,
    "switch": Life.switch,
    "keep": Life.keep,
    "cancel": Life.cancel,
    "resume": Life.resume,
    "break": lambda life, _: life.card(FAILING),
    "mend": lambda life, _: life.card(GOOD),
    "pay": Life.pay,
    "refund": Life.refund,
    "give": Life.give_up,
    "wait": Life.wait,
    "renew": Life.renew,
}


def _extra(line: Any) -> bool:
    return Decimal(str(line.pricing.unit_amount_decimal)) == Decimal("0.0001")


def _priced(used: Charge, plan: Plan) -> Charge:
    each = plan.price.overage_usd_per_million if plan.price else Decimal(0)
    cap = plan.price.default_cap_usd if plan.price else Decimal(0)
    return replace(used, overage_usd_per_million=each, default_cap_usd=cap)


@asynccontextmanager
async def living(
    stack: Stack, payments: Counterpart, sql: Sql, *, after_refund: AfterRefund = "suspend"
) -> AsyncGenerator[Life]:
    login, service_login = (
        DatabasePool(stack.env["DATABASE_URL"]),
        DatabasePool(stack.env["SERVICE_DATABASE_URL"]),
    )
    redis = make_redis(stack.env["REDIS_URL"])
    listening = make_listening_redis(stack.env["REDIS_URL"], block_seconds=1)
    service, user = ServiceDatabase(service_login), UserDatabase(login)
    provider = StripePayments(KEY, api_base=payments.url)
    quota = Quota(service, user, PLANS, free_cap=PLENTY, total_cap=PLENTY)
    signals = RedisSignals(redis, listening, prefix=f"tests:{uuid4()}")
    subscriptions = Subscriptions(
        service,
        provider,
        signals,
        plans=("pro", "business"),
        grace=GRACE,
        after_refund=after_refund,
    )
    limiter = RedisLimiter(redis, prefix="tests:invoices")
    try:
        async with sdk(payments.url) as client, control(payments.url) as till:
            # Events of others are none of this life's.
            before = await client.v1.events.list_async({"limit": 100})
            yield Life(
                sql,
                service,
                client,
                till,
                Checkout(
                    service,
                    user,
                    provider,
                    limiter,
                    quota,
                    PLANS,
                    subscriptions,
                    page="http://127.0.0.1/billing",
                ),
                StripeEvents(service, subscriptions),
                SubscriptionTasks(service, provider, subscriptions),
                Outbox(service, provider),
                quota,
                subscriptions,
                known={each.id for each in before.data},
            )
    finally:
        await provider.close()
        await redis.aclose()
        await listening.aclose()
        await login.close()
        await service_login.close()


async def _sell(payments: Counterpart) -> None:
    catalogue = StripeCatalogue(
        KEY, api_base=payments.url, plans=tuple(PLANS.values()), return_url="http://127.0.0.1"
    )
    await catalogue.sync()
    await catalogue.close()


async def _live(
    stack: Stack, payments: Counterpart, sql: Sql, steps: list[str], after_refund: AfterRefund
) -> None:
    await _sell(payments)
    async with living(stack, payments, sql, after_refund=after_refund) as life:
        for step in steps:
            await life.step(step)
        await life.end()
        ledger, invoiced = life.ledger(), await life.invoiced()
        charged = {key: usd for key, usd in ledger.items() if usd}
        asked = {key: usd for key, usd in invoiced.items() if usd}
        written_off = life.written_off()
        assert not asked.keys() & written_off.keys(), life.did
        assert charged == asked | written_off, life.did
        assert set(written_off) <= await _given_up(life), life.did
        for key, usd in life.spent().items():
            assert usd <= 20, (key, life.did)
        ((given, taken),) = sql(
            "select (select coalesce(sum(tokens), 0) from credit_grants where user_id = %s),"
            " (select coalesce(sum(credit_tokens), 0) from usage_records where user_id = %s)",
            life.user_id,
            life.user_id,
        )
        assert int(str(taken)) <= int(str(given)), life.did


async def _given_up(life: Life) -> set[str]:
    """Periods in which a subscription was given up because nobody paid: Stripe writes no invoice then."""
    customer = (await life.account()).metered_customer
    if customer is None:
        return set()
    page = await life.client.v1.subscriptions.list_async({"customer": customer, "status": "all"})
    return {
        f"{each.id}:{each['items'].data[0].current_period_start}"
        for each in page.data
        if each.cancellation_details and each.cancellation_details.reason == "payment_failed"
    }


# Most lives begin with a subscription: else there is nothing to invoice.
LIVES = st.tuples(
    st.sampled_from(["subscribe pro", "subscribe business"]),
    st.lists(st.sampled_from(STEPS), min_size=4, max_size=12),
).map(lambda life: [life[0], *life[1]])


@pytest.mark.parametrize(
    ("steps", "after_refund"),
    [
        ("subscribe pro, use 2500, switch business, use 2500, use 2500, renew", "suspend"),
        ("subscribe pro, use 700, wait, switch business, use 2500, switch pro, renew", "suspend"),
        ("subscribe pro, use 700, beside business, use 2500, beside pro, use 700", "suspend"),
        ("subscribe business, use 700, renew, use 2500, use 2500, cancel, renew", "suspend"),
        ("subscribe business, renew, switch pro, keep, switch pro, renew, use 2500", "suspend"),
        ("subscribe pro, use 2500, break card, renew, use 700, mend card, pay, renew", "suspend"),
        (
            "subscribe pro, use 700, begin 2500, switch business, begin 2500, finish, use 2500",
            "suspend",
        ),
        ("subscribe business, use 2500, begin 2500, switch pro, begin 2500, renew", "suspend"),
        ("subscribe pro, use 2500, begin 700, refund all, finish, use 700, renew", "suspend"),
        (
            "subscribe pro, use 2500, begin 700, refund all, finish, subscribe pro, use 2500",
            "cancel",
        ),
        (
            "subscribe pro, credit 400, use 2500, credit 400, begin 700, switch business, use 700",
            "suspend",
        ),
        (
            "subscribe pro, break card, renew early, use 2500, give up, subscribe pro, use 2500",
            "suspend",
        ),
    ],
)
def test_lives_that_change_while_usage_is_billed(
    stack: Stack, payments: Counterpart, sql: Sql, steps: str, after_refund: AfterRefund
) -> None:
    asyncio.run(_live(stack, payments, sql, steps.split(", "), after_refund))


@given(LIVES, st.sampled_from(["suspend", "cancel"]))
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_invoices_say_what_the_ledger_has_charged(
    stack: Stack, payments: Counterpart, sql: Sql, steps: list[str], after_refund: AfterRefund
) -> None:
    asyncio.run(_live(stack, payments, sql, steps, after_refund))


async def test_extra_usage_of_a_subscription_that_is_given_up_is_written_off(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await _sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.step("use 1500")
        await life.step("break card")
        # While the renewal's invoice is a draft, nobody knows that it won't be paid.
        await life.step("renew early")
        await life.step("use 1700")
        first, last = sorted(life.ledger().items(), key=lambda each: each[0].rsplit(":")[-1])
        assert (first[1], last[1]) == (Decimal("6.17"), Decimal("8.64"))
        await life.step("give up")
        assert await life.live() is None
        assert life.written_off() == dict([last])
        # The period before is on an invoice, which can still be paid.
        assert {k: v for k, v in (await life.invoiced()).items() if v} == dict([first])
        assert [each.status for each in await life.invoices()] == ["open", "paid"]
        credited = sql(
            "select values ->> 'usd', values ->> 'tokens' from billing_notices"
            " where kind = 'written_off' and values ->> 'user_id' = %s",
            str(life.user_id),
        )
        assert credited == [("8.641975", "700")]
        # However often the end is seen.
        await life.look()
        assert len(life.written_off()) == 1


@pytest.mark.parametrize(
    ("cap", "charged"),
    [
        # What 500 tokens cost is a little less, so all of them fit.
        (Decimal("6.18"), Decimal("6.172839")),
        (Decimal("6.17"), Decimal("6.160493")),
        (Decimal(0), Decimal(0)),
    ],
)
async def test_cap_that_is_lowered_while_a_reply_is_written_bounds_its_invoice(
    stack: Stack, payments: Counterpart, sql: Sql, cap: Decimal, charged: Decimal
) -> None:
    await _sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.step("begin 1500")
        await life.checkout.set_cap(await life.account(), cap)
        await life.step("finish")
        assert list(life.spent().values()) == [charged]
        ((used,),) = sql("select used from quota_periods where user_id = %s", life.user_id)
        assert used == 1_500
        await life.step("renew")
        asked = [usd for usd in (await life.invoiced()).values() if usd]
        assert asked == ([cents(charged)] if charged else [])


async def test_second_subscription_is_ended_and_refunded_and_both_are_reported(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await _sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.step("use 1500")
        first = await life.live()
        await life.step("beside business")
        assert life.did[-1] == "beside business"
        found = await life.live()
        assert found.id == first.id
        assert (await life.account()).plan == "pro"
        listed = await life.client.v1.charges.list_async({"customer": found.customer})
        assert [(each.amount, each.amount_refunded) for each in listed.data] == [
            (10_000, 10_000),
            (2_000, 0),
        ]
        rows = sql(
            "select kind, values ->> 'amount' from billing_notices where user_id = %s"
            " and kind = 'duplicate_ended' union all"
            " select kind, values ->> 'amount' from billing_notices where kind = 'duplicate_found'"
            " and values ->> 'user_id' = %s order by 1",
            life.user_id,
            str(life.user_id),
        )
        assert rows == [("duplicate_ended", "10000"), ("duplicate_found", "10000")]
        await life.step("renew")
        assert {k: v for k, v in (await life.invoiced()).items() if v} == life.ledger()


async def test_upgrade_keeps_what_is_included_and_counts_nothing_twice(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await _sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.step("use 1500")
        before = await life.quota.allowance(await life.account())
        assert (before.included, before.billed_tokens) == (1_000, 500)
        await life.step("switch business")
        who = await life.account()
        after = await life.quota.allowance(who)
        # The whole difference: the period has just begun. What was charged isn't used of it.
        assert (who.plan, after.included, after.used) == (
            "business",
            pytest.approx(5_000, abs=2),
            1_000,
        )
        assert (after.billed_tokens, after.billed_usd) == (500, Decimal("6.172839"))
        limits = life.quota.limits_of(who)
        assert BUSINESS.price is not None
        left = BUSINESS.price.default_cap_usd - after.billed_usd
        assert limits.overage == BUSINESS.price.tokens_for(left)
        # A smaller plan begins with the next period.
        await life.step("switch pro")
        who = await life.account()
        assert who.subscription is not None
        assert (who.plan, who.subscription.next_plan) == ("business", "pro")
        await life.step("renew")
        who = await life.account()
        assert who.subscription is not None
        assert (who.plan, who.subscription.next_plan) == ("pro", None)
        assert life.quota.limits_of(who).included == 1_000
        # What saw to that holds the subscription no more: the portal offers to cancel it.
        assert (await life.live()).schedule is None
        await life.step("cancel")
        assert life.did[-1] == "cancel"


@pytest.mark.parametrize("how", ["refund", "dispute"])
async def test_payment_that_went_back_suspends_what_it_paid_for_until_the_next_is_paid(
    stack: Stack, payments: Counterpart, sql: Sql, how: str
) -> None:
    await _sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.release(how)
        assert (await life.account()).plan == "free"
        ((action,),) = sql(
            "select values ->> 'plan_change' from billing_notices where values ->> 'user_id' = %s"
            " and kind in ('refunded', 'dispute_closed') order by created_at desc limit 1",
            str(life.user_id),
        )
        assert action == "suspend"
        # The daily look doesn't bring it back, the next paid period does.
        await life.look()
        assert (await life.account()).plan == "free"
        await life.step("renew")
        assert (await life.account()).plan == "pro"


@pytest.mark.parametrize(("after", "plan", "live"), [("cancel", "free", 0), ("nothing", "pro", 1)])
async def test_what_a_refund_does_to_the_plan_is_the_operators_choice(
    stack: Stack, payments: Counterpart, sql: Sql, after: AfterRefund, plan: str, live: int
) -> None:
    await _sell(payments)
    async with living(stack, payments, sql, after_refund=after) as life:
        await life.step("subscribe pro")
        customer = str((await life.account()).metered_customer)
        await life.release("refund")
        assert (await life.account()).plan == plan
        listed = await life.client.v1.subscriptions.list_async({"customer": customer})
        assert len(listed.data) == live


async def test_refund_of_an_earlier_period_or_a_dispute_that_is_won_ends_nothing(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await _sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.release("dispute", won=True)
        assert (await life.account()).plan == "pro"
        await life.step("renew")
        await life.release("refund", which=-1)
        assert (await life.account()).plan == "pro"
