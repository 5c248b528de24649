"""Test clocks of the Stripe fake: months for some customers, while nothing happens to the others."""

import time
from typing import Any

import pytest
import stripe
from stripe import StripeClient

from devstack.tests.payments_client import (
    refused,
)
from devstack.tests.payments_shop import DAY, HOUR, Shop, period


async def new_clock(client: StripeClient, *, frozen: int) -> str:
    made = await client.v1.test_helpers.test_clocks.create_async(
        {"frozen_time": frozen, "name": "of the tests"}
    )
    assert (made.status, made.frozen_time, made.name) == ("ready", frozen, "of the tests")
    return made.id


async def advance(client: StripeClient, clock: str, to: int) -> None:
    clocks = client.v1.test_helpers.test_clocks
    begun = await clocks.advance_async(clock, {"frozen_time": to})
    assert begun.status == "advancing"
    details = begun.status_details.advancing
    assert details is not None
    assert details.target_frozen_time == to
    deadline = time.monotonic() + 60
    while (found := await clocks.retrieve_async(clock)).status != "ready":
        assert time.monotonic() < deadline, "it never became ready"
    assert found.frozen_time == to


async def on_clock(shop: Shop, clock: str) -> str:
    made = await shop.client.v1.customers.create_async({"test_clock": clock})
    await shop.pay_with(made.id, "pm_card_visa")
    assert made.test_clock == clock
    return made.id


async def test_months_pass_for_customers_of_a_clock_and_for_nobody_else(shop: Shop) -> None:
    start = int(time.time()) - 34 * DAY
    clock = await new_clock(shop.client, frozen=start)
    theirs, others = await on_clock(shop, clock), await shop.customer()
    one, other = await shop.subscribe(theirs), await shop.subscribe(others)
    assert (one.created, period(one)[0], one.test_clock) == (start, start, clock)
    await advance(shop.client, clock, start + DAY)
    await shop.use(theirs, 1_500_000, at=start + DAY)
    end = period(one)[1]
    await advance(shop.client, clock, end + 2 * HOUR)
    renewed = await shop.subscription(one.id)
    assert (period(renewed)[0], renewed.status) == (end, "active")
    newest, first = await shop.invoices(theirs)
    assert (newest.status, newest.total, newest.created) == ("paid", 2500, end)
    assert (first.total, first.test_clock) == (2000, clock)
    assert period(await shop.subscription(other.id)) == period(other)
    assert len(await shop.invoices(others)) == 1
    # The books' own clock moves nothing of theirs.
    await shop.advance(40 * DAY)
    assert len(await shop.invoices(theirs)) == 2
    assert len(await shop.invoices(others)) == 2


async def test_what_is_on_a_clock_is_only_listed_for_it(shop: Shop) -> None:
    v1 = shop.client.v1
    clock = await new_clock(shop.client, frozen=int(time.time()))
    customer = await on_clock(shop, clock)
    made = await shop.subscribe(customer)

    async def listed(**params: Any) -> list[str]:
        page = await v1.subscriptions.list_async(params)  # pyright: ignore[reportArgumentType]
        return [each.id for each in page.data]

    assert made.id not in await listed(limit=100)
    assert await listed(test_clock=clock) == await listed(customer=customer) == [made.id]
    everyone = await v1.customers.list_async({"limit": 100})
    assert customer not in [each.id for each in everyone.data]
    assert [each.id for each in (await v1.customers.list_async({"test_clock": clock})).data] == [
        customer
    ]
    invoices = await v1.invoices.list_async({"limit": 100})
    assert made.latest_invoice not in [each.id for each in invoices.data]


async def test_deleting_a_clock_deletes_its_customers_and_ends_their_subscriptions(
    shop: Shop,
) -> None:
    clocks = shop.client.v1.test_helpers.test_clocks
    clock = await new_clock(shop.client, frozen=int(time.time()))
    customer = await on_clock(shop, clock)
    made = await shop.subscribe(customer)
    assert clock in [each.id for each in (await clocks.list_async({"limit": 100})).data]
    gone = await clocks.delete_async(clock)
    assert gone.deleted
    assert (await shop.client.v1.customers.retrieve_async(customer)).deleted
    assert (await shop.subscription(made.id)).status == "canceled"
    error = await refused(stripe.InvalidRequestError, clocks.retrieve_async(clock))
    assert error.code == "resource_missing"


async def test_clock_goes_forward_by_two_periods_at_most(shop: Shop) -> None:
    clocks = shop.client.v1.test_helpers.test_clocks
    start = int(time.time()) - 34 * DAY
    clock = await new_clock(shop.client, frozen=start)
    await refused(stripe.InvalidRequestError, clocks.advance_async(clock, {"frozen_time": start}))
    # Without a subscription it may be two years.
    await advance(shop.client, clock, start + 60 * DAY)
    made = await shop.subscribe(await on_clock(shop, clock))
    end = period(made)[1]
    error = await refused(
        stripe.InvalidRequestError, clocks.advance_async(clock, {"frozen_time": end + 40 * DAY})
    )
    assert error.param == "frozen_time"
    await advance(shop.client, clock, end + 20 * DAY)


async def test_nothing_changes_on_a_clock_that_advances(shop: Shop) -> None:
    start = int(time.time()) - 34 * DAY
    clock = await new_clock(shop.client, frozen=start)
    made = await shop.subscribe(await on_clock(shop, clock))
    clocks = shop.client.v1.test_helpers.test_clocks
    await clocks.advance_async(clock, {"frozen_time": start + DAY})
    error = await refused(stripe.RateLimitError, shop.client.v1.subscriptions.cancel_async(made.id))
    assert "advancement underway" in str(error.user_message)


async def test_clock_takes_three_customers(shop: Shop) -> None:
    clock = await new_clock(shop.client, frozen=int(time.time()))
    for _ in range(3):
        await on_clock(shop, clock)
    error = await refused(
        stripe.InvalidRequestError, shop.client.v1.customers.create_async({"test_clock": clock})
    )
    assert error.param == "test_clock"


@pytest.mark.parametrize("beside", [-35 * DAY - 60, 10 * 60])
async def test_usage_is_within_the_window_of_its_clock_and_of_the_present(
    shop: Shop, beside: int
) -> None:
    now = int(time.time())
    for frozen, at in ((now - DAY, now - DAY + beside), (now + 40 * DAY, now + beside)):
        clock = await new_clock(shop.client, frozen=frozen)
        customer = await on_clock(shop, clock)
        await refused(stripe.InvalidRequestError, shop.use(customer, 1, at=at))
