"""Coupons and promotion codes at the Stripe fake, and what they take off to the cent."""

from typing import Any
from uuid import uuid4

from stripe import InvalidRequestError, StripeClient

from devstack.tests.payments_client import (
    refused,
)
from devstack.tests.payments_shop import HOUR, INCLUDED, Shop, amounts, period


async def code_for(client: StripeClient, coupon: str, **more: Any) -> str:
    params: Any = {
        "promotion": {"type": "coupon", "coupon": coupon},
        "code": f"CODE{uuid4().hex[:8]}",
        **more,
    }
    return (await client.v1.promotion_codes.create_async(params)).id


async def test_a_coupon_for_once_is_used_up_by_what_is_paid_first(shop: Shop) -> None:
    client, once, ever = shop.client, await shop.customer(), await shop.customer()
    half = await client.v1.coupons.create_async({"percent_off": 50, "duration": "once"})
    five: Any = {"amount_off": 500, "currency": "usd", "duration": "forever"}
    always = await client.v1.coupons.create_async(five)
    made = await shop.subscribe(once, discounts=[{"coupon": half.id}])
    code = await code_for(client, always.id)
    always_off = await shop.subscribe(ever, discounts=[{"promotion_code": code}])
    (first,) = await shop.invoices(once)
    assert (first.subtotal, first.total, first.amount_paid) == (2000, 1000, 1000)
    assert [each.amount for each in first.total_discount_amounts] == [1000]
    assert (await shop.subscription(made.id)).discounts == []
    # What is used beyond is discounted as well, by whom it is still given.
    for customer in (once, ever):
        await shop.use(customer, INCLUDED + 1_000_000)
    foreseen = [
        await client.v1.invoices.create_preview_async({"subscription": each.id})
        for each in (made, always_off)
    ]
    assert [each.total for each in foreseen] == [3000, 2500]
    await shop.advance_to(period(made)[1], and_then=HOUR + 60)
    renewed = [(await shop.invoices(each))[0] for each in (once, ever)]
    assert [each.amount_paid for each in renewed] == [3000, 2500]
    seen = await shop.events(once)
    assert seen.count("customer.discount.created") == seen.count("customer.discount.deleted") == 1


async def test_a_trial_does_not_use_up_a_coupon(shop: Shop) -> None:
    customer = await shop.customer()
    whole = await shop.client.v1.coupons.create_async({"percent_off": 100, "duration": "once"})
    made = await shop.subscribe(customer, trial_period_days=3, discounts=[{"coupon": whole.id}])
    await shop.advance_to(period(made)[1], and_then=HOUR + 60)
    second, first = await shop.invoices(customer)
    assert (first.total, second.subtotal, second.total, second.status) == (0, 2000, 0, "paid")
    assert amounts(second)[0] == 2000
    assert (await shop.subscription(made.id)).status == "active"


async def test_a_code_is_good_for_whom_and_as_often_as_it_says(shop: Shop) -> None:
    client, customer, other = shop.client, await shop.customer(), await shop.customer()
    coupon = await client.v1.coupons.create_async({"percent_off": 12.5, "name": "An eighth"})
    mine = await code_for(client, coupon.id, customer=customer, max_redemptions=1)
    code: Any = {"discounts": [{"promotion_code": mine}]}
    error = await refused(InvalidRequestError, shop.subscribe(other, **code))
    assert error.param == "discounts[0][promotion_code]"
    await shop.subscribe(customer, **code)
    (invoice,) = await shop.invoices(customer)
    assert invoice.total == 1750
    await refused(InvalidRequestError, shop.subscribe(customer, **code))
    assert (await client.v1.promotion_codes.retrieve_async(mine)).times_redeemed == 1
    assert (await client.v1.coupons.retrieve_async(coupon.id)).times_redeemed == 1
    off = await code_for(client, coupon.id, active=False)
    await refused(
        InvalidRequestError, shop.subscribe(customer, discounts=[{"promotion_code": off}])
    )


async def test_what_takes_nothing_or_too_much_off_is_no_coupon(shop: Shop) -> None:
    create: Any = shop.client.v1.coupons.create_async
    for params in (
        {},
        {"percent_off": 0},
        {"percent_off": 101},
        {"amount_off": 500},
        {"percent_off": 50, "amount_off": 500, "currency": "usd"},
    ):
        await refused(InvalidRequestError, create(params))
    coupon = await create({"percent_off": 50, "id": f"HALF{uuid4().hex[:6]}"})
    again = create({"percent_off": 50, "id": coupon.id})
    assert (await refused(InvalidRequestError, again)).code == "resource_already_exists"
