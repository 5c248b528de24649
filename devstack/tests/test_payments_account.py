"""An account at the Stripe fake that is set up, changed, and looked through as an operator does."""

from typing import Any
from uuid import uuid4

import stripe

from devstack.tests.payments_client import (
    refused,
)
from devstack.tests.payments_shop import Shop, amounts


async def test_product_is_renamed_and_an_archived_price_is_not_listed(shop: Shop) -> None:
    v1, key = shop.client.v1, f"pro_{uuid4().hex[:8]}"
    product = await v1.products.create_async(
        {"id": key, "name": "Pro", "metadata": {"plan": "pro"}}
    )
    again: Any = {"id": key, "name": "Pro"}
    error = await refused(stripe.InvalidRequestError, v1.products.create_async(again))
    assert error.code == "resource_already_exists"
    changed = await v1.products.update_async(product.id, {"name": "Team", "metadata": {"a": "b"}})
    assert (changed.name, changed.metadata.to_dict()) == ("Team", {"plan": "pro", "a": "b"})
    assert (await v1.products.retrieve_async(product.id)).name == "Team"
    price = await v1.prices.create_async(
        {"currency": "usd", "product": key, "unit_amount": 900, "lookup_key": key}
    )
    await v1.prices.update_async(price.id, {"active": False})
    assert (await v1.prices.list_async({"lookup_keys": [key], "active": True})).data == []
    assert len((await v1.prices.list_async({"lookup_keys": [key]})).data) == 1


async def test_portal_offers_what_its_configuration_says_now(shop: Shop) -> None:
    configurations = shop.client.v1.billing_portal.configurations
    made = await configurations.create_async(
        {"features": {"invoice_history": {"enabled": True}}, "metadata": {"by": "us"}}
    )
    cancel: Any = {"subscription_cancel": {"enabled": True, "mode": "at_period_end"}}
    changed = await configurations.update_async(made.id, {"features": cancel})
    assert changed.features.subscription_cancel.enabled
    assert changed.features.invoice_history.enabled
    listed = await configurations.list_async({"active": True})
    assert made.id in [each.id for each in listed.data]
    at_once: Any = {"features": {"subscription_cancel": {"enabled": True, "mode": "immediately"}}}
    await refused(stripe.InvalidRequestError, configurations.update_async(made.id, at_once))


async def test_destination_of_thin_events_tells_its_address_to_who_asks(shop: Shop) -> None:
    destinations = shop.client.v2.core.event_destinations
    wanted: Any = {
        "name": "meter errors",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": ["v1.billing.meter.error_report_triggered"],
        "webhook_endpoint": {"url": "http://127.0.0.1:9/hook"},
    }
    made = await destinations.create_async(wanted)
    include: Any = {"include": ["webhook_endpoint.url"]}
    found: Any = {each.id: each for each in (await destinations.list_async(include)).data}
    assert found[made.id].webhook_endpoint.url == "http://127.0.0.1:9/hook"
    unasked: Any = {each.id: each for each in (await destinations.list_async()).data}
    assert unasked[made.id].webhook_endpoint.url is None
    snapshots = (await shop.client.v1.webhook_endpoints.list_async()).data
    assert made.id not in [each.id for each in snapshots]


async def test_classic_subscription_moves_to_flexible_billing_once(shop: Shop) -> None:
    subscriptions = shop.client.v1.subscriptions
    made = await shop.subscribe(await shop.customer(), billing_mode={"type": "classic"})
    assert made.billing_mode.type == "classic"
    flexible: Any = {"billing_mode": {"type": "flexible"}}
    assert (await subscriptions.migrate_async(made.id, flexible)).billing_mode.type == "flexible"
    await refused(stripe.InvalidRequestError, subscriptions.migrate_async(made.id, flexible))


async def test_metered_item_is_added_and_taken_out(shop: Shop) -> None:
    subscriptions = shop.client.v1.subscriptions
    made = await shop.subscribe(await shop.customer(), items=[{"price": shop.base}])
    added: Any = {"items": [{"price": shop.usage}], "proration_behavior": "none"}
    both = (await subscriptions.update_async(made.id, added))["items"].data
    assert [item.price.id for item in both] == [shop.base, shop.usage]
    removed: Any = {
        "items": [{"id": both[1].id, "deleted": True}],
        "proration_behavior": "none",
    }
    left = (await subscriptions.update_async(made.id, removed))["items"].data
    assert [item.price.id for item in left] == [shop.base]


async def test_payment_leads_to_its_invoice_and_back(shop: Shop) -> None:
    v1, customer = shop.client.v1, await shop.customer()
    made = await shop.subscribe(customer)
    (charge,) = (await v1.charges.list_async({"customer": customer})).data
    by_payment = await v1.invoice_payments.list_async(
        {"payment": {"type": "payment_intent", "payment_intent": str(charge.payment_intent)}}
    )
    by_invoice = await v1.invoice_payments.list_async({"invoice": made.latest_invoice})
    assert [each.invoice for each in by_payment.data] == [made.latest_invoice]
    assert [each.id for each in by_invoice.data] == [each.id for each in by_payment.data]
    refund = await v1.refunds.create_async({"payment_intent": str(charge.payment_intent)})
    assert (refund.amount, refund.charge) == (2000, charge.id)
    listed = await v1.invoices.list_async({"subscription": made.id, "expand": ["data.payments"]})
    assert [amounts(each) for each in listed.data] == [[2000]]
    payments: Any = listed.data[0].payments
    assert [each.status for each in payments.data] == ["paid"]


async def test_open_invoice_can_be_voided_and_not_paid_then(shop: Shop) -> None:
    made = await shop.subscribe(await shop.customer("pm_card_chargeCustomerFail"))
    invoices = shop.client.v1.invoices
    assert (await invoices.void_invoice_async(made.latest_invoice)).status == "void"
    await refused(stripe.InvalidRequestError, invoices.void_invoice_async(made.latest_invoice))
    await refused(stripe.InvalidRequestError, invoices.pay_async(made.latest_invoice))


async def test_rejected_usage_is_reported_when_a_test_says_so(shop: Shop) -> None:
    wanted = {"event_name": shop.event_name, "identifiers": ["a", "b"]}
    assert (await shop.control.post("/meter-errors", json=wanted)).json() == {"events": 1}
