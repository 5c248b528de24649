"""Subscriptions at the Stripe fake, from their first day to their last."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import stripe

from devstack.tests.payments_client import (
    control,
    counterpart,
    refused,
    sdk,
    variables_for,
)
from devstack.tests.payments_shop import (
    DAY,
    HOUR,
    Shop,
    amounts,
    in_order,
    open_shop,
    period,
)


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
    seen = await shop.events(customer)
    assert {"invoice.upcoming", "customer.subscription.trial_will_end"} <= set(seen)

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
    await shop.pay_with(customer, "pm_card_chargeCustomerFail")
    _, end = period(made)
    await shop.advance_to(end, and_then=HOUR + 60)
    late = await shop.subscription(made.id)
    assert (late.status, late.latest_invoice.status) == ("past_due", "open")
    assert late.latest_invoice.attempt_count == 1
    tried = late.latest_invoice.next_payment_attempt
    assert tried == end + HOUR + 3 * DAY
    data = await shop.event("customer.subscription.updated", made.id)
    assert data["previous_attributes"] == {"status": "active"}

    await shop.pay_with(customer, "pm_card_visa")
    await shop.advance_to(tried, and_then=60)
    well = await shop.subscription(made.id)
    assert (well.status, well.latest_invoice.status) == ("active", "paid")
    seen = await shop.events(customer)
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
        seen,
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


async def test_subscription_ends_when_the_last_retry_has_failed(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    await shop.pay_with(customer, "pm_card_chargeCustomerFail")
    await shop.advance_to(period(made)[1], and_then=HOUR + 60)
    await shop.advance(14 * DAY)
    late = await shop.subscription(made.id)
    assert (late.status, late.latest_invoice.attempt_count) == ("past_due", 3)
    await shop.advance(DAY)
    gone = await shop.subscription(made.id)
    assert (gone.status, gone.cancellation_details.reason) == ("canceled", "payment_failed")
    assert (gone.latest_invoice.status, gone.latest_invoice.attempt_count) == ("open", 4)
    assert gone.latest_invoice.next_payment_attempt is None
    await shop.advance(40 * DAY)
    assert len(await shop.invoices(customer)) == 2


async def test_month_that_begins_on_the_31st_comes_back_to_it(shop: Shop) -> None:
    today = datetime.fromtimestamp(await shop.now(), UTC)
    await shop.advance_to(int(datetime(today.year + 1, 1, 31, 12, tzinfo=UTC).timestamp()))
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    ends: list[str] = []
    for _ in range(3):
        current = period(await shop.subscription(made.id))
        ends.append(f"{datetime.fromtimestamp(current[1], UTC):%m-%d}")
        await shop.advance_to(current[1], and_then=60)
    assert ends[0] in {"02-28", "02-29"}
    assert ends[1:] == ["03-31", "04-30"]


async def test_trial_that_is_cancelled_costs_nothing(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer, trial_period_days=14)
    await shop.use(customer, 9_000_000)
    await shop.client.v1.subscriptions.update_async(made.id, {"cancel_at_period_end": True})
    await shop.advance_to(made.trial_end, and_then=2 * HOUR)
    assert (await shop.subscription(made.id)).status == "canceled"
    assert [invoice.total for invoice in await shop.invoices(customer)] == [0]


async def test_cancellation_can_be_taken_back(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    subscriptions = shop.client.v1.subscriptions
    await subscriptions.update_async(made.id, {"cancel_at_period_end": True})
    data = await shop.event("customer.subscription.updated", made.id)
    assert data["previous_attributes"]["cancel_at_period_end"] is False
    back = await subscriptions.update_async(made.id, {"cancel_at_period_end": False})
    assert (back.cancel_at, back.canceled_at) == (None, None)
    await shop.advance_to(period(made)[1], and_then=60)
    assert (await shop.subscription(made.id)).status == "active"


async def test_first_payment_that_fails_begins_nothing_if_it_was_asked_so(shop: Shop) -> None:
    customer = await shop.customer("pm_card_chargeCustomerFail")
    await refused(
        stripe.CardError, shop.subscribe(customer, payment_behavior="error_if_incomplete")
    )
    listed: Any = {"customer": customer, "status": "all"}
    assert (await shop.client.v1.subscriptions.list_async(listed)).data == []


async def test_deleted_customer_takes_their_subscriptions_along(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    await shop.use(customer, 9_000_000)
    await shop.client.v1.customers.delete_async(customer)
    assert (await shop.subscription(made.id)).status == "canceled"
    seen = await shop.events(customer)
    assert seen[-2:] == ["customer.subscription.deleted", "customer.deleted"]
    await shop.advance(60 * DAY)
    assert await shop.events(customer) == seen


async def test_list_leaves_out_what_has_ended_unless_it_is_asked_for(shop: Shop) -> None:
    customer = await shop.customer()
    ended, running = await shop.subscribe(customer), await shop.subscribe(customer)
    await shop.client.v1.subscriptions.cancel_async(ended.id)
    subscriptions = shop.client.v1.subscriptions

    async def listed(**more: Any) -> list[str]:
        params: Any = {"customer": customer, **more}
        return [each.id for each in (await subscriptions.list_async(params)).data]

    assert await listed() == [running.id]
    assert await listed(status="all") == [running.id, ended.id]
    assert await listed(status="canceled") == [ended.id]


async def test_schedule_changes_the_plan_when_the_period_ends(shop: Shop) -> None:
    schedules, customer = shop.client.v1.subscription_schedules, await shop.customer()
    made = await shop.subscribe(customer)
    start, end = period(made)
    schedule = await schedules.create_async({"from_subscription": made.id})
    assert [(each.start_date, each.end_date) for each in schedule.phases] == [(start, end)]
    phases: Any = [
        {
            "items": [{"price": shop.base, "quantity": 1}, {"price": shop.usage}],
            "start_date": start,
            "end_date": end,
        },
        {
            "items": [{"price": shop.dear, "quantity": 1}, {"price": shop.usage}],
            "duration": {"interval": "month", "interval_count": 1},
        },
    ]
    await schedules.update_async(schedule.id, {"phases": phases, "metadata": {"plan": "dear"}})
    other: Any = {"cancel_at_period_end": True}
    await refused(
        stripe.InvalidRequestError, shop.client.v1.subscriptions.update_async(made.id, other)
    )
    await shop.use(customer, 2_000_000)
    await shop.advance_to(end, and_then=HOUR + 60)
    assert amounts((await shop.invoices(customer))[0]) == [5000, 0, 1000]
    changed = await shop.subscription(made.id)
    assert {item.price.id for item in changed["items"].data} == {shop.dear, shop.usage}
    # After the last phase the subscription goes on by itself.
    await shop.advance_to(period(changed)[1], and_then=60)
    assert (await shop.subscription(made.id)).schedule is None
    assert (await schedules.retrieve_async(schedule.id)).status == "released"


async def test_released_schedule_changes_nothing(shop: Shop) -> None:
    schedules, made = (
        shop.client.v1.subscription_schedules,
        await shop.subscribe(await shop.customer()),
    )
    schedule = await schedules.create_async({"from_subscription": made.id})
    assert (await shop.subscription(made.id)).schedule == schedule.id
    released = await schedules.release_async(schedule.id)
    assert (released.status, released.released_subscription) == ("released", made.id)
    assert (await shop.subscription(made.id)).schedule is None
    await refused(stripe.InvalidRequestError, schedules.release_async(schedule.id))


async def test_subscription_lives_on_after_a_kill(tmp_path: Path) -> None:
    variables = variables_for(tmp_path / "books")
    with counterpart(variables) as first:
        async with sdk(first.url) as client, control(first.url) as controlled:
            shop = await open_shop(client, controlled)
            customer = await shop.customer()
            made = await shop.subscribe(customer)
            first.kill()
            with counterpart(variables):
                found = await shop.subscription(made.id)
                assert (found.status, found.latest_invoice.status) == ("active", "paid")
                await shop.advance_to(period(made)[1], and_then=HOUR + 60)
                assert [each.status for each in await shop.invoices(customer)] == ["paid", "paid"]
