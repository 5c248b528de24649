"""Paying, by the real SDK against the Stripe fake, with real accounts in the real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from stripe import StripeClient, Subscription

from aisaas.accounts.models import GrantingSubscription
from aisaas.accounts.ports import Window
from aisaas.adapters.redis_client import make_redis
from aisaas.adapters.redis_limiter import RedisLimiter
from aisaas.adapters.stripe_catalogue import StripeCatalogue
from aisaas.adapters.stripe_payments import StripePayments
from aisaas.billing.plans.models import BillingAccount
from aisaas.billing.plans.periods import running
from aisaas.billing.plans.terms import plans
from aisaas.billing.reservations.quota import Quota, book
from aisaas.billing.subscriptions.checkout import QUESTION_SECONDS, QUESTIONS, Checkout, cents
from aisaas.errors import BillingInvalid, RateLimitedMinute, Unavailable
from aisaas.wiring import Services
from devstack.stack import Stack
from devstack.tests.payments_client import (
    KEY,
    Counterpart,
    control,
    counterpart,
    sdk,
    variables_for,
)
from tests.billing.conftest import PLENTY, Billing, charge, claim
from tests.parts import outage
from tests.services import Database, Member, new_member

PAGE = "http://127.0.0.1:3000/billing"


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counterpart]:
    with counterpart(variables_for(tmp_path_factory.mktemp("payments") / "books")) as running:
        yield running


@pytest.fixture
async def client(payments: Counterpart) -> AsyncIterator[StripeClient]:
    async with sdk(payments.url) as made:
        yield made


@pytest.fixture
async def limiter(stack: Stack) -> AsyncIterator[RedisLimiter]:
    redis = make_redis(stack.env["REDIS_URL"])
    yield RedisLimiter(redis, prefix="tests:billing")
    await redis.aclose()


@pytest.fixture
async def checkout(
    payments: Counterpart, billing: Billing, services: Services, limiter: RedisLimiter
) -> AsyncIterator[Checkout]:
    sold = plans(services.settings)
    catalogue = StripeCatalogue(
        KEY, api_base=payments.url, plans=tuple(sold.values()), return_url=PAGE
    )
    await catalogue.sync()
    await catalogue.close()
    provider = StripePayments(KEY, api_base=payments.url)
    quota = Quota(billing.service, billing.user, sold, free_cap=PLENTY, total_cap=PLENTY)
    yield Checkout(billing.service, billing.user, provider, limiter, quota, sold, None, page=PAGE)
    await provider.close()


@pytest.fixture
async def ada(services: Services) -> Member:
    return await new_member(services)


async def _again(services: Services, ada: Member) -> BillingAccount:
    return (await services.callers.resolve(ada.cookie)).billing


async def _subscribed(
    services: Services, client: StripeClient, database: Database, checkout: Checkout, ada: Member
) -> BillingAccount:
    """On Pro, as a webhook would leave it."""
    await checkout.subscribe(ada.principal.billing, "pro")
    customer = (await _again(services, ada)).metered_customer
    assert customer is not None
    listed = await client.v1.prices.list_async({"lookup_keys": ["pro_base", "extra_usage"]})
    made = await client.v1.subscriptions.create_async(
        {
            "customer": customer,
            "metadata": {"user_id": str(ada.principal.user_id)},
            "default_payment_method": await _card(client, customer, "pm_card_visa"),
            "items": [{"price": price.id} for price in listed.data],
        }
    )
    item = made.to_dict(for_json=True)["items"]["data"][0]
    database(
        "update profiles set plan = 'pro', subscription_status = 'active', subscription_id = %s,"
        " period_start = to_timestamp(%s), period_end = to_timestamp(%s) where id = %s",
        made.id,
        item["current_period_start"],
        item["current_period_end"],
        ada.principal.user_id,
    )
    return await _again(services, ada)


async def _card(client: StripeClient, customer: str, name: str) -> str:
    return (await client.v1.payment_methods.attach_async(name, {"customer": customer})).id


# To Checkout


async def test_two_tabs_and_double_clicks_make_one_customer_and_one_page(
    checkout: Checkout, client: StripeClient, services: Services, ada: Member
) -> None:
    pages = await asyncio.gather(
        *(checkout.subscribe(ada.principal.billing, "pro") for _ in range(8))
    )
    assert len(set(pages)) == 1
    listed = await client.v1.customers.list_async({"email": ada.principal.email})
    (customer,) = listed.data
    assert (await _again(services, ada)).metered_customer == customer.id
    # The next click, with the customer known, leads to the same page still.
    assert await checkout.subscribe(await _again(services, ada), "pro") == pages[0]


async def test_customer_that_was_deleted_at_the_provider_gets_a_successor(
    checkout: Checkout, client: StripeClient, services: Services, database: Database, ada: Member
) -> None:
    page = await checkout.subscribe(ada.principal.billing, "pro")
    customer = str((await _again(services, ada)).metered_customer)
    await client.v1.customers.delete_async(customer)
    # What the webhook of it does.
    database("update profiles set stripe_customer_id = null where id = %s", ada.principal.user_id)
    pages = await asyncio.gather(
        *(checkout.subscribe(ada.principal.billing, "pro") for _ in range(4))
    )
    assert len(set(pages)) == 1
    assert page not in pages
    assert (await _again(services, ada)).metered_customer not in {None, customer}


async def test_checkout_sells_both_prices_to_the_user_who_asked(
    checkout: Checkout, client: StripeClient, services: Services, ada: Member
) -> None:
    await checkout.subscribe(ada.principal.billing, "pro")
    customer = (await _again(services, ada)).metered_customer
    assert customer is not None
    (session,) = (await client.v1.checkout.sessions.list_async({"customer": customer})).data
    assert (session.mode, session.client_reference_id) == (
        "subscription",
        str(ada.principal.user_id),
    )
    assert session.allow_promotion_codes
    assert session.automatic_tax.enabled
    assert session.success_url == f"{PAGE}?checkout=done"
    lines = await client.v1.checkout.sessions.line_items.list_async(session.id)
    assert {str(line.price.lookup_key) for line in lines.data if line.price} == {
        "pro_base",
        "extra_usage",
    }


async def test_page_of_another_plan_closes_the_first_and_is_closed_by_it_again(
    checkout: Checkout, client: StripeClient, services: Services, ada: Member
) -> None:
    async def statuses() -> dict[str, str | None]:
        customer = str((await _again(services, ada)).metered_customer)
        listed = await client.v1.checkout.sessions.list_async({"customer": customer})
        return {session.id: session.status for session in listed.data}

    pages = [
        await checkout.subscribe(await _again(services, ada), plan)
        for plan in ("pro", "business", "pro", "pro")
    ]
    pro, business, again, same = (page.rsplit("/", 1)[-1] for page in pages)
    assert again == same
    assert await statuses() == {pro: "expired", business: "expired", again: "open"}


async def test_pages_that_are_asked_for_at_once_leave_one_open(
    checkout: Checkout, client: StripeClient, services: Services, ada: Member
) -> None:
    # Later rounds find pages of both plans.
    for _ in range(3):
        await asyncio.gather(
            *(checkout.subscribe(ada.principal.billing, plan) for plan in ("pro", "business") * 3)
        )
        customer = str((await _again(services, ada)).metered_customer)
        open_ones = await client.v1.checkout.sessions.list_async(
            {"customer": customer, "status": "open"}
        )
        assert len(open_ones.data) == 1


@pytest.mark.parametrize("plan", ["free", "gold", "", "pro'; --"])
async def test_plan_that_is_not_sold_is_refused(checkout: Checkout, ada: Member, plan: str) -> None:
    with pytest.raises(BillingInvalid):
        await checkout.subscribe(ada.principal.billing, plan)


async def test_subscriber_is_sent_to_the_portal_however_stale_our_copy_is(
    checkout: Checkout,
    client: StripeClient,
    services: Services,
    database: Database,
    ada: Member,
) -> None:
    subscriber = await _subscribed(services, client, database, checkout, ada)
    stale = replace(subscriber, plan="free", subscription=None, subscription_status="free")
    assert "/portal/" in await checkout.subscribe(stale, "business")
    assert "/portal/" in await checkout.portal(subscriber)


async def test_there_is_one_trial_for_each_user(
    checkout: Checkout, payments: Counterpart, client: StripeClient, services: Services, ada: Member
) -> None:
    assert (await checkout.billing(ada.principal.billing)).trial_possible
    first = await _paid(payments, client, await checkout.subscribe(ada.principal.billing, "pro"))
    assert first.status == "trialing"
    await client.v1.subscriptions.cancel_async(first.id)
    # Our own copy has never heard of that subscription.
    again = await checkout.subscribe(await _again(services, ada), "pro")
    assert (await _paid(payments, client, again)).status == "active"


async def _paid(payments: Counterpart, client: StripeClient, page: str) -> Subscription:
    """Go through with a Checkout page, by a good card."""
    session_id = page.rsplit("/", 1)[-1]
    async with control(payments.url) as till:
        answer = await till.post(
            f"/checkout/{session_id}/complete", json={"number": "4242424242424242"}
        )
    assert answer.status_code == 200, answer.text
    session = await client.v1.checkout.sessions.retrieve_async(session_id)
    return await client.v1.subscriptions.retrieve_async(str(session.subscription))


# Switching


async def test_dearer_plan_is_paid_for_at_once_or_nothing_changes(
    checkout: Checkout, client: StripeClient, services: Services, database: Database, ada: Member
) -> None:
    subscriber = await _subscribed(services, client, database, checkout, ada)
    assert subscriber.subscription is not None
    given = subscriber.subscription.id
    customer = str(subscriber.metered_customer)
    failing = await _card(client, customer, "pm_card_chargeCustomerFail")
    await client.v1.subscriptions.update_async(given, {"default_payment_method": failing})
    with pytest.raises(BillingInvalid, match="didn't go through"):
        await checkout.switch(subscriber, "business")
    assert await _keys(client, given) == {"pro_base", "extra_usage"}
    good = await _card(client, customer, "pm_card_visa")
    await client.v1.subscriptions.update_async(given, {"default_payment_method": good})
    await checkout.switch(subscriber, "business")
    # A second click finds it done.
    await checkout.switch(subscriber, "business")
    assert await _keys(client, given) == {"business_base", "extra_usage"}


async def test_cheaper_plan_begins_with_the_next_period_or_is_taken_back(
    checkout: Checkout, client: StripeClient, services: Services, database: Database, ada: Member
) -> None:
    subscriber = await _subscribed(services, client, database, checkout, ada)
    assert subscriber.subscription is not None
    given = subscriber.subscription.id
    await checkout.switch(subscriber, "business")
    dear = replace(subscriber, plan="business")
    await checkout.switch(dear, "pro")
    # A second click, too.
    await checkout.switch(dear, "pro")
    assert await _keys(client, given) == {"business_base", "extra_usage"}
    assert await _next_plan(given, checkout) == "pro"
    await checkout.keep_plan(dear)
    await checkout.keep_plan(dear)
    assert await _next_plan(given, checkout) is None


async def _next_plan(given: str, checkout: Checkout) -> str | None:
    payments = checkout._payments  # pyright: ignore[reportPrivateUsage]
    assert payments is not None
    found = await payments.subscription(given)
    assert found is not None
    return found.next_plan


async def _keys(client: StripeClient, subscription: str) -> set[str]:
    found = (await client.v1.subscriptions.retrieve_async(subscription)).to_dict(for_json=True)
    return {item["price"]["lookup_key"] for item in found["items"]["data"]}


async def test_trial_is_not_switched_to_a_plan_without_one(checkout: Checkout, ada: Member) -> None:
    trying = replace(_paying(ada.principal.billing), subscription_status="trialing")
    with pytest.raises(BillingInvalid, match="has no trial"):
        await checkout.switch(trying, "business")


async def test_who_has_no_subscription_switches_nothing(checkout: Checkout, ada: Member) -> None:
    with pytest.raises(BillingInvalid):
        await checkout.switch(ada.principal.billing, "business")
    with pytest.raises(BillingInvalid, match="Choose a plan"):
        await checkout.portal(ada.principal.billing)


# The cap


@pytest.mark.parametrize("usd", ["0", "0.01", "25", "10000"])
async def test_cap_is_the_users_to_set(
    checkout: Checkout, services: Services, ada: Member, usd: str
) -> None:
    await checkout.set_cap(ada.principal.billing, Decimal(usd))
    assert (await _again(services, ada)).overage_cap_usd == Decimal(usd)
    await checkout.set_cap(ada.principal.billing, None)
    assert (await _again(services, ada)).overage_cap_usd is None


@pytest.mark.parametrize("usd", ["-0.01", "10000.01", "1e9", "NaN", "Infinity", "-Infinity"])
async def test_cap_that_is_no_amount_of_money_changes_nothing(
    checkout: Checkout, services: Services, ada: Member, usd: str
) -> None:
    await checkout.set_cap(ada.principal.billing, Decimal(7))
    with pytest.raises(BillingInvalid):
        await checkout.set_cap(ada.principal.billing, Decimal(usd))
    assert (await _again(services, ada)).overage_cap_usd == 7


# What the page shows


async def _use(billing: Billing, services: Services, who: BillingAccount, tokens: int) -> None:
    held = replace(
        claim(who.user_id, prompt=0, max_tokens=tokens, min_tokens=tokens, free=False),
        limits=services.quota.limits_of(who),
        period=running(who),
    )
    await billing.quota().reserve(held)
    async with billing.service.transaction() as session:
        used = charge(held, tokens, customer=who.metered_customer)
        await book(session, replace(used, overage_usd_per_million=Decimal(10)))


def _paying(who: BillingAccount) -> BillingAccount:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    return replace(
        who,
        plan="pro",
        subscription_status="active",
        metered_customer="cus_page",
        subscription=GrantingSubscription("sub_page", start, start + timedelta(days=30)),
    )


async def test_page_estimates_the_next_invoice_from_the_ledger(
    checkout: Checkout, billing: Billing, services: Services, ada: Member
) -> None:
    who = _paying(ada.principal.billing)
    before = await checkout.billing(who)
    assert before.estimate is not None
    assert (before.estimate.base_usd, before.estimate.overage_usd) == (20, 0)
    await _use(billing, services, who, 2_000_000 + 123_456)
    after = await checkout.billing(who)
    assert after.estimate is not None
    assert after.estimate.overage_tokens == 123_456
    # Ten dollars a million.
    assert after.estimate.total_usd == Decimal("21.23")
    assert (after.spent_usd, after.cap_usd) == (Decimal("1.23"), 20)


async def test_plan_that_ends_with_the_period_has_no_base_price_ahead(
    checkout: Checkout, ada: Member
) -> None:
    who = _paying(ada.principal.billing)
    assert who.subscription is not None
    ending = replace(who, plan_ends_at=who.subscription.period_end)
    found = (await checkout.billing(ending)).estimate
    assert found is not None
    assert found.total_usd == 0


async def test_trial_is_free_and_its_end_costs_the_base_price(
    checkout: Checkout, billing: Billing, services: Services, ada: Member
) -> None:
    who = replace(_paying(ada.principal.billing), subscription_status="trialing")
    await _use(billing, services, who, 200_000)
    found = await checkout.billing(who)
    assert found.estimate is not None
    assert (found.estimate.total_usd, found.allowance.left) == (20, 0)


async def test_free_plan_has_nothing_to_estimate(checkout: Checkout, ada: Member) -> None:
    found = await checkout.billing(ada.principal.billing)
    assert (found.plan.id, found.estimate, found.has_customer) == ("free", None, False)
    assert [plan.id for plan in found.offers] == ["pro", "business"]
    assert await checkout.preview(ada.principal.billing) is None
    assert await checkout.invoices(ada.principal.billing) == ()


def test_cents_are_rounded_as_invoices_are() -> None:
    assert [cents(Decimal(usd)) for usd in ("0.004", "0.005", "1.235")] == [
        Decimal("0.00"),
        Decimal("0.01"),
        Decimal("1.24"),
    ]


# When the provider is away


async def test_provider_that_fails_leaves_the_page_and_changes_nothing(
    checkout: Checkout, payments: Counterpart, services: Services, ada: Member
) -> None:
    async with control(payments.url) as faults:
        await faults.post("/faults", json={"kind": "server_error", "times": None})
        try:
            with pytest.raises(Unavailable, match="isn't responding"):
                await checkout.subscribe(ada.principal.billing, "pro")
            assert (await checkout.billing(ada.principal.billing)).plan.id == "free"
        finally:
            await faults.delete("/faults")
    assert (await _again(services, ada)).metered_customer is None


async def test_nobody_asks_the_provider_without_end(
    checkout: Checkout, limiter: RedisLimiter, ada: Member
) -> None:
    window = Window(f"billing:{ada.principal.user_id}", QUESTIONS, QUESTION_SECONDS)
    for _ in range(QUESTIONS):
        assert await limiter.acquire(uuid4(), [window]) is None
    with pytest.raises(RateLimitedMinute) as refused:
        await checkout.subscribe(ada.principal.billing, "pro")
    assert refused.value.retry_at is not None
    # One's own figures are not the provider's.
    assert (await checkout.billing(ada.principal.billing)).plan.id == "free"


async def test_without_redis_paying_goes_on(checkout: Checkout, stack: Stack, ada: Member) -> None:
    with outage(stack, "valkey", "stopped"):
        assert "/checkout/" in await checkout.subscribe(ada.principal.billing, "pro")


async def test_answer_that_got_lost_makes_no_second_customer(
    checkout: Checkout, payments: Counterpart, client: StripeClient, ada: Member
) -> None:
    async with control(payments.url) as faults:
        await faults.post(
            "/faults",
            json={"operation": "POST /v1/customers", "kind": "lost_answer", "times": 5},
        )
        with pytest.raises(Unavailable):
            await checkout.subscribe(ada.principal.billing, "pro")
        await faults.delete("/faults")
    await checkout.subscribe(ada.principal.billing, "pro")
    assert len((await client.v1.customers.list_async({"email": ada.principal.email})).data) == 1


async def test_installation_without_payments_says_so(
    billing: Billing, services: Services, limiter: RedisLimiter, ada: Member
) -> None:
    quota = services.quota
    sold = plans(services.settings)
    off = Checkout(billing.service, billing.user, None, limiter, quota, sold, None, page=PAGE)
    assert (await off.billing(ada.principal.billing)).offers == []
    for asked in (off.subscribe(ada.principal.billing, "pro"), off.portal(ada.principal.billing)):
        with pytest.raises(BillingInvalid, match="aren't available"):
            await asked
