"""Invoices at the Stripe fake: what they ask for, and how they are paid."""

import time
from typing import Any

import pytest
import stripe

from devstack.tests.payments_client import (
    refused,
)
from devstack.tests.payments_shop import DAY, HOUR, INCLUDED, Shop, amounts, period


async def _next_invoice(shop: Shop, subscription: Any) -> Any:
    _, end = period(subscription)
    await shop.advance_to(end, and_then=HOUR + 60)
    return (await shop.invoices(subscription.customer))[0]


@pytest.mark.parametrize(
    ("tokens", "cost"),
    [
        (0, [0]),
        (INCLUDED, [0]),
        (INCLUDED + 1, [0, 0]),
        (INCLUDED + 499, [0, 0]),
        (INCLUDED + 500, [0, 1]),
        (INCLUDED + 1499, [0, 1]),
        (INCLUDED + 1500, [0, 2]),
    ],
)
async def test_border_of_a_tier_and_half_a_cent(shop: Shop, tokens: int, cost: list[int]) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    if tokens:
        await shop.use(customer, tokens)
    foreseen = await shop.client.v1.invoices.create_preview_async({"subscription": made.id})
    assert amounts(foreseen) == [2000, *cost]
    assert sum(line.quantity or 0 for line in foreseen.lines.data[1:]) == tokens


async def test_usage_that_comes_late_counts_until_the_draft_is_final(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    _, end = period(made)
    await shop.advance_to(end, and_then=-60)
    in_the_old_period = int(time.time())
    await shop.advance(120)
    draft = (await shop.subscription(made.id)).latest_invoice
    assert (draft.status, draft.total) == ("draft", 2000)
    # Stamped before the period's end, and sent after it.
    await shop.use(customer, 3 * INCLUDED, at=in_the_old_period)
    await shop.use(customer, 7 * INCLUDED)
    await shop.advance(HOUR)
    final = await shop.client.v1.invoices.retrieve_async(draft.id)
    assert (final.status, amounts(final)) == ("paid", [2000, 0, 2000])
    await shop.use(customer, INCLUDED, at=in_the_old_period)
    again = await shop.client.v1.invoices.retrieve_async(draft.id)
    assert again.total == final.total
    # What was used after the border is the new period's.
    foreseen = await shop.client.v1.invoices.create_preview_async({"subscription": made.id})
    assert amounts(foreseen) == [2000, 0, 6000]


@pytest.mark.parametrize(("mode", "used"), [("flexible", [0, 3000]), ("classic", [])])
async def test_switch_is_prorated_and_usage_goes_by_the_price_it_was_used_at(
    shop: Shop, mode: str, used: list[int]
) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer, billing_mode={"type": mode})
    assert made.billing_mode.type == mode
    start, end = period(made)
    await shop.use(customer, 4 * INCLUDED)
    await shop.advance_to(start + (end - start) // 2)
    base, usage = made.items.data
    items: Any = [
        {"id": base.id, "price": shop.dear},
        {"id": usage.id, "price": shop.dear_usage},
    ]
    switched = await shop.client.v1.subscriptions.update_async(
        made.id,
        {
            "items": items,
            "proration_behavior": "always_invoice",
            "payment_behavior": "error_if_incomplete",
        },
    )
    assert {item.price.id for item in switched["items"].data} == {shop.dear, shop.dear_usage}
    own = (await shop.invoices(customer))[0]
    # Classic billing never bills what was used before.
    assert amounts(own)[: len(used)] == used
    unused, remaining = amounts(own)[len(used) :]
    # Half a month of each, but for the seconds that the test itself took.
    assert unused == pytest.approx(-1000, abs=1)
    assert remaining == pytest.approx(2500, abs=1)
    assert (own.status, own.billing_reason) == ("paid", "subscription_update")
    assert [line.parent.subscription_item_details.proration for line in own.lines.data] == [
        *[False] * len(used),
        True,
        True,
    ]
    assert amounts(await _next_invoice(shop, switched)) == [5000, 0]


async def test_switch_down_waits_for_the_next_invoice(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    items: Any = [{"id": made["items"].data[0].id, "price": shop.dear}]
    changed = await shop.client.v1.subscriptions.update_async(made.id, {"items": items})
    assert len(await shop.invoices(customer)) == 1
    foreseen = await shop.client.v1.invoices.create_preview_async({"subscription": made.id})
    unused, remaining, base, usage = amounts(foreseen)
    assert (unused, remaining, base, usage) == (-2000, 5000, 5000, 0)
    assert amounts(await _next_invoice(shop, changed)) == amounts(foreseen)


async def test_switch_that_cannot_be_paid_changes_nothing(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    await shop.pay_with(customer, "pm_card_chargeCustomerFail")
    before = await shop.events(customer)
    items: Any = [{"id": made["items"].data[0].id, "price": shop.dear}]
    error = await refused(
        stripe.CardError,
        shop.client.v1.subscriptions.update_async(
            made.id,
            {
                "items": items,
                "proration_behavior": "always_invoice",
                "payment_behavior": "error_if_incomplete",
            },
        ),
    )
    assert (error.code, error.http_status) == ("card_declined", 402)
    after = await shop.subscription(made.id)
    assert after["items"].data[0].price.id == shop.base
    assert len(await shop.invoices(customer)) == 1
    assert await shop.events(customer) == before


async def test_credit_of_a_switch_is_used_up_by_the_next_invoices(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer, items=[{"price": shop.dear}, {"price": shop.usage}])
    items: Any = [{"id": made["items"].data[0].id, "price": shop.base}]
    changed = await shop.client.v1.subscriptions.update_async(
        made.id, {"items": items, "proration_behavior": "always_invoice"}
    )
    credit = (await shop.invoices(customer))[0]
    assert (credit.total, credit.amount_due, credit.status) == (-3000, 0, "paid")
    following = await _next_invoice(shop, changed)
    assert (following.total, following.starting_balance) == (2000, -3000)
    assert (following.amount_due, following.ending_balance) == (0, -1000)
    after = await _next_invoice(shop, await shop.subscription(made.id))
    assert (after.total, after.amount_due, after.status) == (2000, 1000, "paid")
    found = await shop.client.v1.customers.retrieve_async(customer)
    assert found.balance == 0


async def test_cancelled_subscription_has_a_next_invoice_only_for_usage(shop: Shop) -> None:
    customer = await shop.customer()
    made = await shop.subscribe(customer)
    cancelling = await shop.client.v1.subscriptions.update_async(
        made.id, {"cancel_at_period_end": True}
    )
    assert cancelling.cancel_at == period(made)[1]
    preview: Any = {"subscription": made.id}
    error = await refused(
        stripe.InvalidRequestError, shop.client.v1.invoices.create_preview_async(preview)
    )
    assert error.code == "invoice_upcoming_none"
    await shop.use(customer, 2 * INCLUDED)
    foreseen = await shop.client.v1.invoices.create_preview_async(preview)
    assert amounts(foreseen) == [0, 1000]
    last = await _next_invoice(shop, made)
    assert (amounts(last), last.status) == ([0, 1000], "paid")
    assert (await shop.subscription(made.id)).status == "canceled"


async def test_open_invoice_is_paid_by_hand_with_another_card(shop: Shop) -> None:
    customer = await shop.customer("pm_card_chargeCustomerFail")
    made = await shop.subscribe(customer)
    assert made.status == "incomplete"
    (invoice,) = await shop.invoices(customer)
    assert invoice.hosted_invoice_url == f"{_base(shop)}/invoice/{invoice.id}"
    assert invoice.invoice_pdf == f"{invoice.hosted_invoice_url}/print"
    error = await refused(stripe.CardError, shop.client.v1.invoices.pay_async(invoice.id))
    assert error.code == "card_declined"
    # The refused charge was attempted: it stays in the records.
    tried = await shop.client.v1.invoices.retrieve_async(invoice.id)
    assert (tried.status, tried.attempt_count) == ("open", 2)
    await shop.client.v1.invoices.pay_async(invoice.id, {"payment_method": "pm_card_visa"})
    assert (await shop.subscription(made.id)).status == "active"
    charges = (await shop.client.v1.charges.list_async({"customer": customer})).data
    assert [charge.status for charge in charges] == ["succeeded", "failed", "failed"]
    found: Any = await shop.client.v1.invoices.retrieve_async(invoice.id, {"expand": ["payments"]})
    assert found.payments.data[0].payment.payment_intent == charges[0].payment_intent


async def test_card_that_asks_for_its_owner_leaves_the_invoice_open(shop: Shop) -> None:
    customer = await shop.customer("pm_card_authenticationRequired")
    made = await shop.subscribe(customer)
    assert made.status == "incomplete"
    assert "invoice.payment_action_required" in await shop.events(customer)
    (invoice,) = await shop.invoices(customer)
    error = await refused(stripe.CardError, shop.client.v1.invoices.pay_async(invoice.id))
    assert error.code == "invoice_payment_intent_requires_action"
    await shop.advance(DAY)
    assert (await shop.subscription(made.id)).status == "incomplete_expired"
    assert (await shop.invoices(customer))[0].status == "void"


async def test_refund_and_dispute_are_reported(shop: Shop) -> None:
    customer = await shop.customer()
    await shop.subscribe(customer)
    (charge,) = (await shop.client.v1.charges.list_async({"customer": customer})).data
    await shop.client.v1.refunds.create_async({"charge": charge.id, "amount": 500})
    part = await shop.client.v1.charges.retrieve_async(charge.id)
    assert (part.amount_refunded, part.refunded) == (500, False)
    await shop.client.v1.refunds.create_async({"charge": charge.id})
    error = await refused(
        stripe.InvalidRequestError, shop.client.v1.refunds.create_async({"charge": charge.id})
    )
    assert error.code == "charge_already_refunded"
    assert (await shop.events(charge.id)).count("charge.refunded") == 2
    opened = (await shop.control.post("/disputes", json={"charge": charge.id})).json()
    assert (opened["charge"], opened["status"]) == (charge.id, "needs_response")
    closed = await shop.control.post(f"/disputes/{opened['id']}/close", json={"status": "lost"})
    assert closed.json()["status"] == "lost"
    assert await shop.events(opened["id"]) == ["charge.dispute.created", "charge.dispute.closed"]


def _base(shop: Shop) -> str:
    return str(shop.control.base_url).removesuffix("/_control/")
