"""Subscriptions at the stand-in for Stripe, from their first day to their last."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.embedded.payments_client import Counterpart, control, counterpart, sdk, variables_for
from tests.embedded.payments_shop import (
    DAY,
    HOUR,
    Shop,
    amounts,
    in_order,
    open_shop,
    period,
)


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counterpart]:
    with counterpart(variables_for(tmp_path_factory.mktemp("payments") / "books")) as running:
        yield running


@pytest.fixture
async def shop(payments: Counterpart) -> AsyncIterator[Shop]:
    async with sdk(payments.url) as client, control(payments.url) as controlled:
        yield await open_shop(client, controlled)


async def test_whole_life_is_billed_to_the_cent(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer, trial_period_days=14, metadata={"user_id": "u"})
    assert (made.status, made.latest_invoice is not None) == ("trialing", True)
    start, trial_end = period(made)
    assert trial_end == made.trial_end == start + 14 * DAY
    (first,) = await shop.invoices(customer)
    assert (first.status, first.total, first.billing_reason) == ("paid", 0, "subscription_create")
    await shop.use(customer, 5_000_000)

    await shop.advance_to(trial_end, and_then=-2 * DAY)
    told = await shop.events(customer)
    assert {"invoice.upcoming", "customer.subscription.trial_will_end"} <= set(told)

    await shop.advance_to(trial_end, and_then=60)
    active = await shop.subscription(made.id)
    assert (active.status, active.latest_invoice.status) == ("active", "draft")
    assert period(active)[0] == trial_end
    await shop.advance_to(trial_end, and_then=HOUR + 60)
    second, _ = await shop.invoices(customer)
    # What the trial used is free.
    assert (second.status, amounts(second)) == ("paid", [2000, 0])

    await shop.use(customer, 1_000_000)
    await shop.use(customer, 1_234_567)
    _, end = period(active)
    foreseen = await shop.client.v1.invoices.create_preview_async({"subscription": made.id})
    await shop.advance_to(end, and_then=HOUR + 60)
    third, *_ = await shop.invoices(customer)
    # A thousandth of a cent each: 1234.567 cents.
    assert (amounts(third), third.total, third.status) == ([2000, 0, 1235], 3235, "paid")
    assert (amounts(foreseen), foreseen.total) == (amounts(third), third.total)
    assert (foreseen.period_start, foreseen.period_end) == (third.period_start, third.period_end)
    assert third.parent.subscription_details.subscription == made.id
    assert [each.number[-4:] for each in await shop.invoices(customer)] == ["0003", "0002", "0001"]


async def test_failed_payment_is_tried_again_until_it_succeeds(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    assert (made.status, amounts((await shop.invoices(customer))[0])) == ("active", [2000])
    await _pay_with(shop, customer, "pm_card_chargeCustomerFail")
    _, end = period(made)
    await shop.advance_to(end, and_then=HOUR + 60)
    late = await shop.subscription(made.id)
    assert (late.status, late.latest_invoice.status) == ("past_due", "open")
    assert late.latest_invoice.attempt_count == 1
    tried = late.latest_invoice.next_payment_attempt
    assert tried == end + HOUR + 3 * DAY
    data = await shop.event("customer.subscription.updated", made.id)
    assert data["previous_attributes"] == {"status": "active"}

    await _pay_with(shop, customer, "pm_card_visa")
    await shop.advance_to(tried, and_then=60)
    well = await shop.subscription(made.id)
    assert (well.status, well.latest_invoice.status) == ("active", "paid")
    told = await shop.events(customer)
    assert in_order(
        [
            "payment_method.attached",
            "customer.subscription.created",
            "invoice.created",
            "invoice.finalized",
            "charge.succeeded",
            "invoice.paid",
            "invoice.payment_succeeded",
            "customer.subscription.updated",
            "invoice.upcoming",
            "customer.subscription.updated",
            "invoice.created",
            "invoice.finalized",
            "charge.failed",
            "invoice.payment_failed",
            "customer.subscription.updated",
            "charge.succeeded",
            "invoice.paid",
            "customer.subscription.updated",
        ],
        told,
    )


async def test_cancelling_bills_what_was_used_so_far(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    await shop.use(customer, 3_000_000)
    # Usage of the very second of the end is no longer its own.
    await shop.advance(HOUR)
    gone = await shop.client.v1.subscriptions.cancel_async(made.id)
    assert (gone.status, gone.canceled_at) == ("canceled", gone.ended_at)
    await shop.advance(HOUR + 60)
    last, *_ = await shop.invoices(customer)
    assert (amounts(last), last.status) == ([0, 2000], "paid")
    assert (await shop.events(made.id))[-1] == "customer.subscription.deleted"
    later = await shop.subscription(made.id)
    assert (later.status, later.latest_invoice.id) == ("canceled", last.id)


async def _pay_with(shop: Shop, customer: str, card: str) -> None:
    method = await shop.client.v1.payment_methods.attach_async(card, {"customer": customer})
    await shop.default(customer, method.id)
