"""Checkout at the Stripe fake: what each card does, and what it leaves behind."""

import asyncio

import pytest
from stripe import StripeClient
from stripe.checkout import Session

from devstack.stripe_fake.pages.card import MEANINGS
from devstack.stripe_fake.payment_methods import BEHAVIOURS
from devstack.tests.payments_pages import Page, Visitor, typed
from devstack.tests.payments_plan import APP, Plan, checkout, subscribe, subscriptions

GOOD, DECLINED, POOR = "4242 4242 4242 4242", "4000 0000 0000 0002", "4000 0000 0000 9995"
CONFIRM, DECLINED_LATER = "4000 0025 0000 3155", "4000 0000 0000 0341"
OTHER = "5555 5555 5555 4444"
PAY, TRIAL = "Pay and subscribe", "Start trial"


def success(session: Session) -> str:
    return f"{APP}/billing?done={session.id}"


async def test_what_is_bought_is_said_before_it_is_paid(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    page = await visitor.open((await checkout(client, plan)).url or "")
    assert "No money moves" in page.text
    assert "Subscribe to Pro & <b>more</b>" in page.text
    assert "$20.00 a month" in page.text
    assert "2,000,000 tokens included" in page.text
    assert "then $10 per million tokens beyond 2,000,000" in page.text
    assert "Total due today $20.00" in page.text
    assert "ada@example.com" in page.text
    assert "<b>more" not in page.answer.text
    trial = await visitor.open((await checkout(client, plan, trial_days=14)).url or "")
    assert "14 days free" in trial.text
    assert "then $20.00 a month" in trial.text
    assert "Total due today $0.00" in trial.text


async def test_a_browser_may_follow_to_the_product_and_nowhere_else(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    page = await visitor.open((await checkout(client, plan)).url or "")
    policy = page.answer.headers["content-security-policy"]
    assert policy.endswith(f"form-action 'self' {APP}")
    assert page.answer.headers["referrer-policy"] == "same-origin"
    assert page.links["← Back without subscribing"] == f"{APP}/billing"


@pytest.mark.parametrize(
    ("trial_days", "button", "status"), [(0, PAY, "active"), (14, TRIAL, "trialing")]
)
async def test_a_good_card_subscribes_and_leads_back(
    client: StripeClient, plan: Plan, visitor: Visitor, trial_days: int, button: str, status: str
) -> None:
    session = await checkout(client, plan, trial_days=trial_days)
    page = await visitor.open(session.url or "")
    answer = await visitor.press(page, button, **typed())
    assert (answer.status_code, answer.headers["location"]) == (303, success(session))
    [subscription] = await subscriptions(client, session.customer)
    assert subscription.status == status
    done = await client.v1.checkout.sessions.retrieve_async(session.id)
    assert (done.status, done.subscription) == ("complete", subscription.id)


async def test_sending_twice_subscribes_once(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    session = await checkout(client, plan)
    page = await visitor.open(session.url or "")
    answers = await asyncio.gather(*(visitor.press(page, PAY, **typed()) for _ in range(3)))
    for answer in answers:
        assert (answer.status_code, answer.headers["location"]) == (303, success(session))
    assert len(await subscriptions(client, session.customer)) == 1
    again = await visitor.open(session.url or "")
    assert "This is done" in again.text
    assert again.links["Go on"] == success(session)


@pytest.mark.parametrize(
    ("number", "why"),
    [(DECLINED, "Your card was declined."), (POOR, "Your card has insufficient funds.")],
)
async def test_a_declined_card_leaves_the_page_as_it_was(
    client: StripeClient, plan: Plan, visitor: Visitor, number: str, why: str
) -> None:
    session = await checkout(client, plan)
    page = await visitor.open(session.url or "")
    refused = Page(await visitor.press(page, PAY, **typed(number)))
    assert refused.answer.status_code == 422
    assert why in refused.text
    form = refused.form(PAY)
    assert (form.fields["name"], form.fields["expires"]) == ("Ada L.", "12/40")
    assert (form.fields["number"], form.fields["cvc"]) == ("", "")
    assert await subscriptions(client, session.customer) == []
    answer = await visitor.press(refused, PAY, **typed())
    assert answer.headers["location"] == success(session)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"number": "12"}, "Enter the number on the card."),
        ({"number": "4111 1111 1111 1111"}, "Your card number is incorrect."),
        ({"expires": "13/40"}, "Enter month and year, like 12/30."),
        ({"expires": "soon"}, "Enter month and year, like 12/30."),
        ({"expires": "01/20"}, "Your card's expiration year is invalid."),
        ({"cvc": "1"}, "Enter the three or four digits."),
        ({"name": ""}, "Enter the name on the card."),
        ({"name": "\"><script>alert('1')</script>", "number": "12"}, "Enter the number"),
    ],
)
async def test_what_is_wrong_is_said_beside_the_field(
    client: StripeClient, plan: Plan, visitor: Visitor, wrong: dict[str, str], said: str
) -> None:
    page = await visitor.open((await checkout(client, plan)).url or "")
    refused = Page(await visitor.press(page, PAY, **(typed() | wrong)))
    assert refused.answer.status_code == 422
    assert said in refused.text
    assert 'aria-invalid="true"' in refused.answer.text
    assert "<script" not in refused.answer.text
    assert "4111" not in refused.answer.text


async def test_every_card_there_is_can_be_found_on_the_page(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    page = await visitor.open((await checkout(client, plan)).url or "")
    for number, behaviour in BEHAVIOURS.items():
        spaced = " ".join(number[start : start + 4] for start in range(0, 16, 4))
        assert f"{spaced} {MEANINGS[behaviour]}" in page.text


async def test_a_confirmed_payment_subscribes(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    session = await checkout(client, plan)
    page = await visitor.open(session.url or "")
    question = await visitor.pressed(page, PAY, **typed(CONFIRM))
    assert "Confirm the payment" in question.text
    assert "$20.00" in question.text
    assert all(each.status != "active" for each in await subscriptions(client, session.customer))
    for _ in range(2):
        answer = await visitor.press(question, "Complete")
        assert (answer.status_code, answer.headers["location"]) == (303, success(session))
    assert [each.status for each in await subscriptions(client, session.customer)] == ["active"]


async def test_an_unconfirmed_payment_can_be_tried_with_another_card(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    session = await checkout(client, plan)
    page = await visitor.open(session.url or "")
    question = await visitor.pressed(page, PAY, **typed(CONFIRM))
    failed = await visitor.pressed(question, "Fail")
    assert "The payment was not confirmed." in failed.text
    assert (await client.v1.checkout.sessions.retrieve_async(session.id)).status == "open"
    answer = await visitor.press(failed, PAY, **typed())
    assert answer.headers["location"] == success(session)
    active = [s for s in await subscriptions(client, session.customer) if s.status == "active"]
    assert len(active) == 1


async def test_a_promotion_code_is_taken_shown_and_taken_back(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    coupon = await client.v1.coupons.create_async({"percent_off": 25, "duration": "once"})
    await client.v1.promotion_codes.create_async(
        {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "SPRING"}
    )
    session = await checkout(client, plan)
    page = await visitor.open(session.url or "")
    unknown = Page(await visitor.press(page, "Apply", promotion_code="<b>AUTUMN"))
    assert unknown.answer.status_code == 422
    assert "This code is invalid." in unknown.text
    assert unknown.form("Apply").fields["promotion_code"] == "<b>AUTUMN"
    taken = await visitor.pressed(unknown, "Apply", promotion_code=" spring ")
    assert "SPRING: 25% off once" in taken.text
    assert "Discount −$5.00 Total due today $15.00" in taken.text
    without = await visitor.pressed(taken, "Remove SPRING")
    assert "Total due today $20.00" in without.text
    taken = await visitor.pressed(without, "Apply", promotion_code="SPRING")
    await visitor.press(taken, PAY, **typed())
    [invoice] = (await client.v1.invoices.list_async({"customer": str(session.customer)})).data
    shown = await visitor.open(invoice.hosted_invoice_url or "")
    assert "Subtotal $20.00 Discount −$5.00 Total $15.00 Paid $15.00" in shown.text


async def test_no_code_is_asked_for_where_none_is_taken(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    session = await checkout(client, plan, codes=False)
    page = await visitor.open(session.url or "")
    assert all("Apply" not in form.buttons for form in page.forms)
    refused = await visitor.send(f"{session.url}/promotion", {"promotion_code": "SPRING"})
    assert refused.status_code == 422


async def test_nobody_pays_with_anothers_card(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    session = await checkout(client, plan)
    theirs = await client.v1.payment_methods.list_async({"customer": await subscribe(client, plan)})
    address = f"{session.url}/confirm?method={theirs.data[0].id}"
    assert (await visitor.open(address)).answer.status_code == 404
    assert (await visitor.send(address, {"decision": "complete"})).status_code == 404
    assert (await visitor.send(address, {"decision": "perhaps"})).status_code == 400
    assert await subscriptions(client, session.customer) == []


async def test_an_expired_page_says_so_and_takes_nothing(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    session = await checkout(client, plan)
    page = await visitor.open(session.url or "")
    await client.v1.checkout.sessions.expire_async(session.id)
    late = Page(await visitor.press(page, PAY, **typed()))
    for each in (late, await visitor.open(session.url or "")):
        assert each.answer.status_code == 410
        assert "This page has expired" in each.text
        assert each.links["Back"] == f"{APP}/billing"
    assert await subscriptions(client, session.customer) == []


async def test_a_form_of_another_site_buys_nothing(
    client: StripeClient, plan: Plan, visitor: Visitor
) -> None:
    session = await checkout(client, plan)
    answer = await visitor.send(session.url or "", typed(), origin=APP)
    assert answer.status_code == 403
    assert await subscriptions(client, session.customer) == []


async def test_an_address_that_leads_nowhere_is_not_found(visitor: Visitor) -> None:
    for path in ("/checkout/cs_test_x", "/portal/bps_x", "/invoice/in_x", "/invoice/in_x/print"):
        page = await visitor.open(path)
        assert page.answer.status_code == 404
        assert "Not found" in page.text
        assert page.answer.headers["content-type"].startswith("text/html")
