"""A user whose subscription changes while their usage is billed: by the real SDK against the Stripe fake,
with the real database between them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
from stripe import Event, StripeClient, StripeError

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
    sdk,
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
    # The newest event that has arrived, of any customer.
    newest_event: str | None = None
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
        for event in reversed(await self._new_events()):
            self.newest_event = event.id
            await self.events.process(read_event(str(event).encode()))
        if await self.tasks.run_once():
            return await self.catch_up()
        self.sql("update private.metering set paused_until = now(), spent_until = now()")
        await self.outbox.deliver_due()
        self.sql("update usage_outbox set next_attempt_at = now() where state = 'pending'")
        await self.outbox.deliver_due()
        return None

    async def _new_events(self) -> list[Event]:
        """Newest first."""
        found: list[Event] = []
        # A few are new each time, and an event is large.
        listed = await self.client.v1.events.list_async({"limit": 10})
        async for event in listed.auto_paging_iter():
            if event.id == self.newest_event:
                break
            found.append(event)
        return found

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
            before = (await client.v1.events.list_async({"limit": 1})).data
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
                newest_event=before[0].id if before else None,
            )
    finally:
        await provider.close()
        await redis.aclose()
        await listening.aclose()
        await login.close()
        await service_login.close()


async def sell(payments: Counterpart) -> None:
    catalogue = StripeCatalogue(
        KEY, api_base=payments.url, plans=tuple(PLANS.values()), return_url="http://127.0.0.1"
    )
    await catalogue.sync()
    await catalogue.close()
