"""The billing portal and the pages of invoices at the Stripe fake."""

import pytest
from stripe import Invoice, StripeClient

from devstack.tests.payments_client import Counterpart, control
from devstack.tests.payments_pages import Page, Visitor, typed
from devstack.tests.payments_plan import (
    APP,
    METER_EVENT,
    Plan,
    portal,
    subscribe,
    subscriptions,
)

GOOD, DECLINED, DECLINED_LATER = "pm_card_visa", "4000 0000 0000 0002", "pm_card_chargeCustomerFail"
CONFIRM, OTHER = "4000 0025 0000 3155", "5555 5555 5555 4444"


async def billing(client: StripeClient, visitor: Visitor, customer: str) -> Page:
    return await visitor.open(await portal(client, customer))


async def test_the_portal_tells_of_plan_card_and_invoices(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    page = await billing(client, visitor, await subscribe(client, plan))
    assert "Pro & <b>more</b> active" in page.text
    assert "Renews on" in page.text
    assert "Visa ending in 4242, expires 12/" in page.text
    assert "$20.00 paid" in page.text
    assert "can't be changed here" in page.text
    assert page.links["← Back to the product"] == f"{APP}/billing"


async def test_a_plan_is_canceled_after_a_question_and_resumed(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    customer = await subscribe(client, plan)
    page = await billing(client, visitor, customer)
    question = await visitor.open(page.links["Cancel plan"])
    assert "stays yours until" in question.text
    [subscription] = await subscriptions(client, customer)
    assert not subscription.cancel_at_period_end
    canceled = await visitor.pressed(question, "Cancel at the end of the period")
    assert "Ends on" in canceled.text
    [subscription] = await subscriptions(client, customer)
    # As Stripe's portal does it in the flexible mode.
    assert (subscription.status, subscription.cancel_at_period_end) == ("active", False)
    assert subscription.cancel_at == subscription["items"].data[0].current_period_end
    resumed = await visitor.pressed(canceled, "Resume plan")
    assert "Renews on" in resumed.text
    [subscription] = await subscriptions(client, customer)
    assert not subscription.cancel_at_period_end


async def test_nobody_reaches_what_is_anothers(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    customer, other = [await subscribe(client, plan) for _ in range(2)]
    [subscription] = await subscriptions(client, other)
    [invoice] = (await client.v1.invoices.list_async({"customer": other})).data
    mine = await portal(client, customer)
    for path in (f"cancel/{subscription.id}", f"resume/{subscription.id}", f"pay/{invoice.id}"):
        assert (await visitor.send(f"{mine}/{path}", {})).status_code == 404
    [subscription] = await subscriptions(client, other)
    assert not subscription.cancel_at_period_end


async def test_what_is_not_offered_is_not_done(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    customer = await subscribe(client, plan)
    configuration = await client.v1.billing_portal.configurations.create_async(
        {"features": {"invoice_history": {"enabled": True}}}
    )
    session = await client.v1.billing_portal.sessions.create_async(
        {"customer": customer, "configuration": configuration.id}
    )
    page = await visitor.open(session.url)
    assert "Cancel plan" not in page.links
    assert "Change card" not in page.links
    [subscription] = await subscriptions(client, customer)
    for path in (f"cancel/{subscription.id}", f"resume/{subscription.id}", "card"):
        assert (await visitor.send(f"{session.url}/{path}", typed())).status_code == 403


async def test_another_card_is_used_from_then_on(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    page = await billing(client, visitor, await subscribe(client, plan))
    form = await visitor.open(page.links["Change card"])
    refused = Page(await visitor.press(form, "Save card", **typed(DECLINED)))
    assert "Your card was declined." in refused.text
    changed = await visitor.pressed(refused, "Save card", **typed(OTHER))
    assert "The new card is used from now on." in changed.text
    assert "Mastercard ending in 4444" in changed.text


async def test_a_card_that_has_to_be_confirmed_counts_once_it_is(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    customer = await subscribe(client, plan)
    page = await billing(client, visitor, customer)
    form = await visitor.open(page.links["Change card"])
    question = await visitor.pressed(form, "Save card", **typed(CONFIRM))
    failed = await visitor.pressed(question, "Fail")
    assert "was not confirmed" in failed.text
    assert "ending in 4242" in (await billing(client, visitor, customer)).text
    question = await visitor.pressed(failed, "Save card", **typed(CONFIRM))
    assert "ending in 3155" in (await visitor.pressed(question, "Complete")).text


# Time, and invoices that stay open


@pytest.fixture
async def owing(client: StripeClient, plan: Plan, visitor: Visitor, payments: Counterpart) -> str:
    """A customer whose trial has ended with a card that is declined when it is charged."""
    customer = await subscribe(client, plan, DECLINED_LATER, trial_days=1)
    async with control(payments.url) as steer:
        await steer.post("/clock", json={"advance_seconds": 90_000 + 3600})
    [subscription] = await subscriptions(client, customer)
    assert subscription.status == "past_due"
    return customer


async def test_the_clock_makes_a_renewal_happen(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    customer = await subscribe(client, plan, trial_days=3)
    await client.v1.billing.meter_events.create_async(
        {
            "event_name": METER_EVENT,
            "payload": {"stripe_customer_id": customer, "value": "1500"},
        }
    )
    page = await visitor.open("/")
    assert "1,500 tokens used" in page.text
    page = await visitor.pressed(page, "To the next renewal")
    [subscription] = await subscriptions(client, customer)
    while subscription.status == "trialing":
        page = await visitor.pressed(page, "To the next renewal")
        [subscription] = await subscriptions(client, customer)
    assert subscription.status == "active"
    assert "customer.subscription.updated" in page.text


async def test_an_invoice_tells_each_tier_and_its_sum(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    customer = await subscribe(client, plan)
    await client.v1.billing.meter_events.create_async(
        {
            "event_name": METER_EVENT,
            "payload": {"stripe_customer_id": customer, "value": "2600000"},
        }
    )
    # It stays a draft for an hour.
    for button in ("+1 month", "+1 day"):
        await visitor.press(await visitor.open("/"), button)
    invoice = (await client.v1.invoices.list_async({"customer": customer})).data[0]
    page = await visitor.open(
        (await billing(client, visitor, customer)).links[invoice.number or ""]
    )
    assert "$26.00 paid" in page.text
    assert "2,000,000 × Pro & <b>more</b> (Tier 1 at" in page.text
    assert "600,000 × Pro & <b>more</b> (Tier 2 at" in page.text
    assert "$6.00" in page.text
    assert "Total $26.00 Paid $26.00" in page.text
    assert page.forms == []
    assert page.links["← Back to billing"].startswith("/portal/bps_")


async def open_invoices(client: StripeClient, customer: str) -> list[Invoice]:
    found = await client.v1.invoices.list_async({"customer": customer})
    return [each for each in found.data if each.status == "open"]


async def test_a_failed_invoice_is_paid_with_another_card(
    client: StripeClient, visitor: Visitor, owing: str
) -> None:
    page = await billing(client, visitor, owing)
    assert "past due" in page.text
    [button] = [text for form in page.forms for text in form.buttons if text.startswith("Pay now")]
    declined = await visitor.pressed(page, button)
    assert "The card was declined." in declined.text
    form = await visitor.open(declined.links["Change card"])
    changed = await visitor.pressed(form, "Save card", **typed(OTHER))
    paid = await visitor.pressed(changed, button)
    assert "The invoice is paid." in paid.text
    [subscription] = await subscriptions(client, owing)
    assert subscription.status == "active"
    assert await open_invoices(client, owing) == []


async def test_an_invoice_is_paid_on_its_own_page(
    client: StripeClient, visitor: Visitor, owing: str
) -> None:
    [invoice] = await open_invoices(client, owing)
    page = await visitor.open(invoice.hosted_invoice_url or "")
    assert f"Invoice {invoice.number}" in page.text
    assert "To be paid $20.00" in page.text
    declined = await visitor.pressed(page, "Pay with this card")
    assert "The card was declined." in declined.text
    question = await visitor.pressed(declined, "Pay", **typed(CONFIRM))
    unconfirmed = await visitor.pressed(question, "Fail")
    assert "was not confirmed" in unconfirmed.text
    question = await visitor.pressed(unconfirmed, "Pay", **typed(CONFIRM))
    paid = await visitor.pressed(question, "Complete")
    assert "The invoice is paid." in paid.text
    assert "Pay this invoice" not in paid.text
    again = await visitor.press(question, "Complete")
    assert again.status_code == 303
    found = await client.v1.invoices.retrieve_async(invoice.id or "")
    assert (found.status, found.amount_paid) == ("paid", 2000)


async def test_an_invoice_can_be_printed_without_buttons(
    client: StripeClient, visitor: Visitor, owing: str
) -> None:
    [invoice] = await open_invoices(client, owing)
    page = await visitor.open(invoice.invoice_pdf or "")
    assert page.forms == []
    assert page.links == {}
    assert "(free trial)" in page.text
    assert "To be paid $20.00" in page.text
