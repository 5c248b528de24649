"""Checkout at the Stripe fake: subscribing on its page, and the events that follow."""

import asyncio
from typing import Any

import pytest
import stripe

from devstack.tests.payments_client import (
    refused,
)
from devstack.tests.payments_shop import DAY, Shop, amounts, in_order

VISA, DECLINED, FAILING, ASKING = (
    "4242424242424242",
    "4000000000000002",
    "4000000000000341",
    "4000002500003155",
)


async def _open(shop: Shop, customer: str, **more: Any) -> Any:
    params: Any = {
        "mode": "subscription",
        "line_items": [{"price": shop.base, "quantity": 1}, {"price": shop.usage}],
        "client_reference_id": "u1",
        "metadata": {"user_id": "u1"},
        "subscription_data": {"metadata": {"user_id": "u1"}},
        "success_url": "http://127.0.0.1:1/done?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1:1/no",
        "customer": customer,
        **more,
    }
    return await shop.client.v1.checkout.sessions.create_async(params)


async def _complete(shop: Shop, session: Any, number: str = VISA, **more: Any) -> Any:
    return await shop.control.post(
        f"/checkout/{session.id}/complete", json={"number": number, **more}
    )


async def test_completed_session_begins_a_subscription_that_is_paid(shop: Shop) -> None:
    customer = await shop.customer(None)
    session = await _open(shop, customer, customer_update={"address": "auto"})
    assert (session.status, session.amount_total) == ("open", 2000)
    assert session.url.endswith(f"/checkout/{session.id}")
    assert (await _complete(shop, session)).json() == {"outcome": "complete"}
    done = await shop.client.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["subscription", "line_items"]}
    )
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    assert done.line_items is not None
    assert [item.amount_total for item in done.line_items.data] == [2000, 0]
    subscription: Any = done.subscription
    assert (subscription.status, subscription.metadata.to_dict()) == ("active", {"user_id": "u1"})
    (invoice,) = await shop.invoices(customer)
    assert (done.invoice, invoice.status, amounts(invoice)) == (invoice.id, "paid", [2000])
    seen = await shop.events(customer)
    assert in_order(
        [
            "payment_method.attached",
            "customer.updated",
            "customer.subscription.created",
            "invoice.created",
            "invoice.finalized",
            "charge.succeeded",
            "invoice.paid",
            "invoice.payment_succeeded",
            "customer.subscription.updated",
        ],
        seen,
    )
    assert seen[-1] == "checkout.session.completed"
    # The card is the customer's from now on.
    found: Any = await shop.client.v1.customers.retrieve_async(
        customer, {"expand": ["invoice_settings.default_payment_method"]}
    )
    assert found.invoice_settings.default_payment_method.card.last4 == "4242"


async def test_trial_is_begun_without_a_charge(shop: Shop) -> None:
    customer = await shop.customer(None)
    session = await _open(shop, customer, subscription_data={"trial_period_days": 14})
    assert session.amount_total == 0
    await _complete(shop, session)
    (subscription,) = (await shop.client.v1.subscriptions.list_async({"customer": customer})).data
    assert subscription.status == "trialing"
    assert "charge.succeeded" not in await shop.events(customer)
    done = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert done.payment_status == "no_payment_required"


async def test_two_completions_at_once_make_one_subscription(shop: Shop) -> None:
    customer = await shop.customer(None)
    session = await _open(shop, customer)
    answers = await asyncio.gather(*(_complete(shop, session) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    found = await shop.client.v1.subscriptions.list_async({"customer": customer, "status": "all"})
    assert len(found.data) == 1
    assert (await shop.events(customer)).count("checkout.session.completed") == 1


@pytest.mark.parametrize("number", [DECLINED, FAILING])
async def test_declined_card_leaves_nothing_and_another_may_be_tried(
    shop: Shop, number: str
) -> None:
    customer = await shop.customer(None)
    session = await _open(shop, customer)
    answer = await _complete(shop, session, number)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "card_declined")
    assert await shop.events(customer) == ["customer.created"]
    assert (await _complete(shop, session)).status_code == 200


async def test_card_that_asks_is_charged_once_its_owner_has_authenticated(shop: Shop) -> None:
    customer = await shop.customer(None)
    session = await _open(shop, customer)
    assert (await _complete(shop, session, ASKING)).json() == {"outcome": "action"}
    assert await shop.invoices(customer) == []
    answer = await _complete(shop, session, ASKING, authenticated=True)
    assert answer.json() == {"outcome": "complete"}
    assert [invoice.status for invoice in await shop.invoices(customer)] == ["paid"]


async def test_session_expires_after_a_day_and_takes_no_card_then(shop: Shop) -> None:
    customer = await shop.customer(None)
    session = await _open(shop, customer)
    await shop.advance(DAY + 1)
    assert "checkout.session.expired" in await shop.events(session.id)
    answer = await _complete(shop, session)
    assert answer.status_code == 400
    other = await _open(shop, customer)
    expired = await shop.client.v1.checkout.sessions.expire_async(other.id)
    assert (expired.status, expired.url) == ("expired", None)


async def test_what_stripe_refuses_is_refused(shop: Shop) -> None:
    customer = await shop.customer(None)
    metered = [{"price": shop.base, "quantity": 1}, {"price": shop.usage, "quantity": 1}]
    error = await refused(stripe.InvalidRequestError, _open(shop, customer, line_items=metered))
    assert error.param == "line_items[1][quantity]"
    without = [{"price": shop.base}]
    error = await refused(stripe.InvalidRequestError, _open(shop, customer, line_items=without))
    assert error.param == "line_items[0][quantity]"
    error = await refused(
        stripe.InvalidRequestError, _open(shop, customer, automatic_tax={"enabled": True})
    )
    assert error.code == "customer_tax_location_invalid"
