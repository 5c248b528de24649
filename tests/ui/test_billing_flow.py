"""Paying and its limits, in a real Chromium, against the Stripe fake."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, WebSocket, expect

from aisaas.cli.instance import Running, running_in
from childprocess.folder import DataFolder
from tests.ui.conftest import SignUp, started
from tests.ui.pages import answered, refused

QUICK = "long 8 speed 0"
INCLUDED = 200
PHONE = {"width": 360, "height": 740}
PAGES = ("/chat", "/dashboard", "/settings", "/billing")
GOOD, DECLINED, DECLINED_LATER = "4242424242424242", "4000000000000002", "4000000000000341"
TRIAL_DAYS = 14
DAY_SECONDS = 86_400

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("billing")


@pytest.fixture(scope="module")
def url(folder: Path) -> Generator[str]:
    """In place of everybody's instance: plans that are used up by a few words."""
    variables = {
        "PRO_TOKENS_PER_MONTH": str(INCLUDED),
        "PRO_TRIAL_DAYS": "0",
        "BUSINESS_TRIAL_DAYS": str(TRIAL_DAYS),
        "BUSINESS_TRIAL_TOKENS": "5000",
        "DEMO_TOKENS_PER_SECOND": "0",
        "SIGN_UPS_PER_ADDRESS": "1000",
    }
    with started(folder, **variables) as address:
        yield address


@pytest.fixture(scope="module")
def instance(folder: Path, url: str) -> Running:
    while (found := running_in(DataFolder(folder / "data"))) is None:
        # It answers a moment before it says where its parts are.
        time.sleep(0.1)
    assert found.url == url
    return found


@contextmanager
def provider(instance: Running) -> Generator[httpx.Client]:
    """The control API of the Stripe fake."""
    key = instance.env["STRIPE_SECRET_KEY"]
    with httpx.Client(
        base_url=f"{instance.env['STRIPE_API_BASE']}/_control",
        headers={"Authorization": f"Bearer {key}"},
        event_hooks={"response": [httpx.Response.raise_for_status]},
    ) as client:
        yield client


def billing(page: Page) -> Page:
    page.goto("/billing")
    expect(page.get_by_role("heading", name="Billing")).to_be_visible()
    return page


def card(page: Page, heading: str) -> Locator:
    return page.locator("section").filter(has=page.get_by_role("heading", name=heading, exact=True))


def plan(page: Page) -> Locator:
    return card(page, "Plan").locator(".figure")


def type_card(page: Page, number: str) -> None:
    page.get_by_role("textbox", name="Card number").fill(number)
    page.get_by_role("textbox", name="Expires (MM/YY)").fill("12/99")
    page.get_by_role("textbox", name="CVC").fill("123")
    page.get_by_role("textbox", name="Name on card").fill("Ada Lovelace")


def choose(page: Page, button: str) -> None:
    """Press the button of a plan, which leads to Checkout."""
    billing(page)
    page.get_by_role("button", name=button).click()
    page.wait_for_url("**/checkout/cs_*")


def on_pro(page: Page) -> Page:
    """Subscribed, and back where they were."""
    before = page.url
    choose(page, "Choose Pro")
    type_card(page, GOOD)
    page.get_by_role("button", name="Pay and subscribe").click()
    expect(page.get_by_text("You're on Pro.")).to_be_visible()
    page.goto(before)
    expect(page.get_by_role("meter")).to_have_attribute("aria-valuemax", str(INCLUDED))
    return page


def to_the_portal(page: Page, button: str) -> None:
    page.get_by_role("button", name=button).click()
    page.wait_for_url("**/portal/*")


def back(page: Page) -> None:
    page.get_by_role("link", name="Back to the product").click()
    expect(page.get_by_role("heading", name="Billing")).to_be_visible()


def set_cap(page: Page, usd: str) -> None:
    field = page.get_by_role("textbox", name="Spending cap in USD")
    field.fill(usd)
    field.press("Enter")
    expect(card(page, "Spending cap").get_by_text("Saved.")).to_be_visible()
    expect(card(page, "Spending cap").locator("strong")).to_have_text(f"${float(usd):.2f}")


def use_more_than_is_included(page: Page) -> None:
    extra = page.get_by_role("meter", name="Spending cap used")
    while not extra.is_visible():
        answered(page, QUICK)
    # The title counts as well.
    expect(page.locator(".row a")).not_to_have_text("New Conversation")


def used_beyond(page: Page) -> int:
    extra = page.get_by_role("meter", name="Spending cap used")
    return int(extra.get_attribute("aria-valuenow") or -1)


# Paying


def test_a_good_card_brings_the_plan_without_a_reload(sign_up: SignUp, instance: Running) -> None:
    page = sign_up()
    with provider(instance) as control:
        control.post("/webhooks", json={"paused": True})
        try:
            choose(page, "Choose Pro")
            type_card(page, DECLINED)
            page.get_by_role("button", name="Pay and subscribe").click()
            expect(page.get_by_text("Your card was declined.")).to_be_visible()
            type_card(page, GOOD)
            page.get_by_role("button", name="Pay and subscribe").click()
            note = page.get_by_role("status").filter(has_text="Setting up your plan…")
            expect(note).to_be_visible()
            page.wait_for_url(re.compile(r"/billing$"))
            expect(plan(page)).to_have_text("Free")
            page.evaluate("window.loadedOnce = true")
        finally:
            control.post("/webhooks", json={"paused": False})
    expect(page.get_by_text("You're on Pro.")).to_be_visible()
    expect(plan(page)).to_have_text("Pro")
    expect(card(page, "Plan")).to_contain_text("Active. Renews on")
    invoice = page.get_by_role("table", name="Invoices").locator("tbody tr")
    expect(invoice).to_have_count(1)
    expect(invoice).to_contain_text("$20.00")
    expect(invoice).to_contain_text("Paid")
    expect(card(page, "Next invoice")).to_contain_text("Total before tax$20.00")
    expect(card(page, "Next invoice").locator(".bill-part .bill-total")).to_contain_text("$20.00")
    assert page.evaluate("window.loadedOnce")


def test_a_dearer_plan_is_switched_to_here(sign_up: SignUp) -> None:
    page = billing(on_pro(sign_up()))
    button = page.get_by_role("button", name="Switch to Business")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Switch to Business for $100 a month?")
    expect(dialog).to_contain_text("charged the difference")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Switch to Business").click()
    expect(page.get_by_text("You're on Business.")).to_be_visible()
    expect(plan(page)).to_have_text("Business")


def test_a_cheaper_plan_begins_with_the_next_period_and_can_be_taken_back(sign_up: SignUp) -> None:
    page = billing(on_pro(sign_up()))
    page.get_by_role("button", name="Switch to Business").click()
    page.get_by_role("dialog").get_by_role("button", name="Switch to Business").click()
    expect(plan(page)).to_have_text("Business")
    page.get_by_role("button", name="Switch to Pro").click()
    dialog = page.get_by_role("dialog", name="Switch to Pro for $20 a month?")
    expect(dialog).to_contain_text("You keep Business until the current period ends")
    dialog.get_by_role("button", name="Switch to Pro").click()
    expect(card(page, "Plan")).to_contain_text("You switch from Business to Pro on")
    expect(card(page, "Next invoice")).to_contain_text("Pro, monthly$20.00")
    expect(page.get_by_role("button", name="Switch to Pro")).to_have_count(0)
    page.get_by_role("button", name="Keep Business").click()
    expect(card(page, "Plan")).to_contain_text("Active. Renews on")
    expect(card(page, "Next invoice")).to_contain_text("Business, monthly$100.00")
    expect(page.get_by_role("button", name="Switch to Pro")).to_be_visible()


def test_a_plan_that_is_cancelled_in_the_portal_ends_on_a_date(sign_up: SignUp) -> None:
    page = billing(on_pro(sign_up()))
    to_the_portal(page, "Manage plan, card, and invoices")
    page.get_by_role("link", name="Cancel plan").click()
    page.get_by_role("button", name="Cancel at the end of the period").click()
    back(page)
    expect(card(page, "Plan")).to_contain_text("Canceled. Pro ends on")
    expect(card(page, "Next invoice")).to_contain_text("Pro (ending, no renewal)$0.00")
    expect(plan(page)).to_have_text("Pro")


# Use and its cap


def test_what_is_used_beyond_is_seen_and_its_cap_is_raised_to_go_on(sign_up: SignUp) -> None:
    page = on_pro(sign_up())
    use_more_than_is_included(page)
    notice = page.get_by_text("You've used all the tokens in Pro.")
    expect(notice).to_be_visible()
    billing(page)
    period = card(page, "This period")
    expect(period.locator(".figure").first).to_have_text(str(INCLUDED))
    expect(period).to_contain_text("Used up. Extra usage is charged.")
    expect(period).to_contain_text("of your $20.00 cap")
    beyond = used_beyond(page)
    expect(period).to_contain_text(f"{beyond:,} token")
    expect(card(page, "Next invoice")).to_contain_text(f"Extra usage: {beyond:,} token")

    set_cap(page, "0")
    page.goto("/chat")
    alert = refused(page, "is there more?", "cap_reached")
    alert.get_by_role("link", name="Spending cap").click()
    page.wait_for_url("**/billing")
    set_cap(page, "5")
    page.goto("/chat")
    box = page.get_by_role("textbox", name="Message")
    expect(box).to_have_value("is there more?")
    answered(page, "is there more?")


def test_a_cap_that_is_no_amount_is_said_beside_the_field(sign_up: SignUp) -> None:
    page = billing(on_pro(sign_up()))
    field = page.get_by_role("textbox", name="Spending cap in USD")
    for typed, said in (
        ("five", "Enter an amount in USD"),
        ("10001", "Enter an amount from \\$0 to"),
    ):
        field.fill(typed)
        field.press("Enter")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(f"^{said}"))
        expect(field).to_have_value(typed)
    set_cap(page, "7.5")
    page.get_by_role("button", name="Use the plan's default, $20").click()
    expect(card(page, "Spending cap").locator("strong")).to_have_text("$20.00")
    expect(field).to_have_value("20")


def test_a_notice_is_dismissed_until_the_next_line(sign_up: SignUp) -> None:
    page = on_pro(sign_up())
    use_more_than_is_included(page)
    notice = page.locator(".near")
    expect(notice).to_have_count(1)
    page.get_by_role("button", name="Dismiss this notice").click()
    expect(notice).to_have_count(0)
    page.reload()
    expect(page.get_by_role("meter")).to_be_visible()
    answered(page, QUICK)
    expect(notice).to_have_count(0)
    # The line of the cap is another one.
    billing(page)
    set_cap(page, "0")
    page.goto("/chat")
    expect(notice).to_contain_text("used all")


# The provider


def test_without_the_provider_the_page_says_so_and_stays(
    sign_up: SignUp, instance: Running
) -> None:
    page = on_pro(sign_up())
    with provider(instance) as control:
        control.post("/faults", json={"kind": "server_error", "times": None})
        try:
            billing(page)
            invoice = card(page, "Next invoice")
            expect(invoice).to_contain_text("$20.00")
            expect(invoice).to_contain_text("isn't responding")
            expect(card(page, "Invoices")).to_contain_text("isn't responding")
            expect(card(page, "Plan").locator(".figure")).to_have_text("Pro")
            button = page.get_by_role("button", name="Manage plan, card, and invoices")
            button.click()
            expect(page.get_by_role("alert")).to_have_attribute("data-code", "unavailable")
            expect(button).to_have_attribute("aria-disabled", "false")
        finally:
            control.delete("/faults")


def test_a_button_that_leads_to_paying_goes_once(sign_up: SignUp, instance: Running) -> None:
    page = on_pro(sign_up())
    sent: list[str] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", lambda frame: sent.append(str(frame)))

    page.on("websocket", listen)
    billing(page)
    with provider(instance) as control:
        control.post("/faults", json={"kind": "delay", "seconds": 5})
        page.get_by_role("button", name="Manage plan, card, and invoices").dblclick()
        expect(page.get_by_role("button", name="Opening…")).to_have_attribute(
            "aria-disabled", "true"
        )
        control.delete("/faults")
    assert len([frame for frame in sent if "open_portal" in frame]) == 1


def test_the_address_of_the_way_back_grants_nothing(sign_up: SignUp) -> None:
    page = sign_up()
    page.goto("/billing?checkout=done")
    expect(page.get_by_text("Setting up your plan…")).to_be_visible()
    page.wait_for_url(re.compile(r"/billing$"))
    expect(plan(page)).to_have_text("Free")


def test_user_who_leaves_checkout_sees_that_nothing_happened(sign_up: SignUp) -> None:
    page = sign_up()
    choose(page, "Choose Pro")
    page.get_by_role("link", name="Back").click()
    note = page.get_by_text("and your plan hasn't changed.")
    expect(note).to_be_visible()
    page.wait_for_url(re.compile(r"/billing$"))
    expect(plan(page)).to_have_text("Free")
    page.get_by_role("button", name="Close").click()
    expect(note).to_have_count(0)


# Everywhere


def test_nothing_scrolls_sideways_on_a_phone(sign_up: SignUp) -> None:
    page = on_pro(sign_up())
    page.set_viewport_size(PHONE)  # pyright: ignore[reportArgumentType]
    billing(page)
    expect(page.get_by_role("table", name="Invoices")).to_be_visible()
    wide = "[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML.slice(0, 80))"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(f"{wide}.filter((e) => !e.includes('visually-hidden'))") == []


def test_a_failed_payment_is_said_on_every_page_until_it_is_paid(
    sign_up: SignUp, instance: Running
) -> None:
    """The last one: it moves the provider's clock."""
    page = sign_up()
    banner = page.get_by_role("complementary", name="Payment")
    choose(page, "Start free trial")
    type_card(page, DECLINED_LATER)
    page.get_by_role("button", name="Start trial").click()
    expect(page.get_by_text("You're on Business.")).to_be_visible()
    expect(card(page, "Plan")).to_contain_text("Trial until")
    expect(banner).to_have_count(0)
    with provider(instance) as control:
        # The first invoice is closed an hour after it is made.
        control.post("/clock", json={"advance_seconds": TRIAL_DAYS * DAY_SECONDS + 7200})
    expect(banner).to_contain_text("Your last payment failed. You keep Business until")
    for path in PAGES:
        page.goto(path)
        expect(banner).to_contain_text("Your last payment failed.")
    to_the_portal(page, "Update payment method")
    page.get_by_role("link", name="Change card").click()
    type_card(page, GOOD)
    page.get_by_role("button", name="Save card").click()
    page.get_by_role("button", name="Pay now").click()
    expect(page.get_by_text("The invoice is paid.")).to_be_visible()
    back(page)
    expect(banner).to_have_count(0)
    expect(plan(page)).to_have_text("Business")
