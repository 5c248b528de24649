"""The billing operations page in a real Chromium: stuck usage is resolved, and a plan corrected."""

from __future__ import annotations

from uuid import uuid4

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from tests.ui.admin.conftest import Execute

WHY = "the meter was mended"
BLANK = "    "
USAGE = "Search by customer ID, email, or record ID"
PHONE: ViewportSize = {"width": 390, "height": 844}
PARTS = (
    "Usage reported to Stripe",
    "Events from Stripe",
    "Our ledger and Stripe's meter",
    "Plans and Stripe subscriptions",
    "Failed jobs",
)
# Of today: days that are over the instance compares by itself, and then decides about what is parked.
STUCK = """
insert into usage_outbox (user_id, identifier, stripe_customer_id, tokens, event_at, state, attempts,
  last_error, first_sent_at)
values (gen_random_uuid(), %s, %s, 1234, now(), %s, 1, 'archived: no meter', now())
"""
FAILED = """
insert into webhook_failures (event_id, type, attempts, last_error)
values (%s, 'customer.subscription.updated', 3, 'database')
"""
# Without a time for the next comparison it stays as it is.
DRIFT = """
insert into meter_reconciliations (stripe_customer_id, day, ledger_tokens, meter_tokens, checked_at)
values (%s, '2026-01-31', 123456789, 1234, now())
"""
SET_ASIDE = """
insert into private.job_failures (job, item, attempts, last_error)
values ('recover_replies', %s, 5, 'CheckViolation 23514')
"""
PAID_BY_NOBODY = "update profiles set plan = 'business' where email = %s"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def money(admin: Page) -> Page:
    """The page, as an admin comes to it."""
    admin.goto("/admin")
    tabs = admin.get_by_role("navigation", name="Administration")
    tabs.get_by_role("link", name="Billing").click()
    expect(admin.get_by_role("heading", name="Billing", exact=True)).to_be_visible()
    return admin


def _rows(page: Page, table: str, search: str, typed: str) -> Locator:
    """The rows of that table, after a search."""
    box = page.get_by_role("searchbox", name=search)
    box.fill(typed)
    box.press("Enter")
    return page.get_by_role("table", name=table, exact=True).locator("tbody").get_by_role("row")


def _stuck(page: Page, execute: Execute, state: str) -> Locator:
    """A row of usage in that state, found by its customer."""
    customer = f"cus_{uuid4().hex}"
    execute(STUCK, uuid4().hex, customer, state)
    rows = _rows(page, "Usage records", USAGE, customer)
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(customer)
    return rows


def _asked(page: Page, within: Locator, button: str) -> Locator:
    within.get_by_role("button", name=button, exact=True).click()
    return page.get_by_role("dialog")


def _done(page: Page, dialog: Locator, button: str, said: str) -> None:
    dialog.get_by_label("Reason").fill(WHY)
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("status").get_by_text(said)).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def _email(page: Page) -> str:
    return page.locator(".account-email").text_content() or ""


def test_stuck_usage_is_sent_again_and_what_is_hopeless_given_up(
    money: Page, execute: Execute
) -> None:
    for part in PARTS:
        expect(money.get_by_role("heading", name=part, exact=True)).to_be_visible()

    rows = _stuck(money, execute, "dead")
    expect(rows).to_contain_text("archived: no meter")
    dialog = _asked(money, rows, "Resend")
    # The browser refuses an empty reason, the server one of spaces; either way the dialog stays.
    dialog.get_by_role("button", name="Resend", exact=True).click()
    expect(dialog.get_by_label("Reason")).to_be_focused()
    dialog.get_by_label("Reason").fill(BLANK)
    dialog.get_by_role("button", name="Resend", exact=True).click()
    expect(dialog.get_by_role("alert")).to_have_text("Enter a reason. It's saved in the audit log.")
    expect(rows).to_have_count(1)
    _done(money, dialog, "Resend", "1 record will be sent again.")
    expect(rows).to_have_count(0)

    rows = _stuck(money, execute, "parked")
    dialog = _asked(money, rows, "Resolve")
    became = dialog.get_by_label("Resolution")
    expect(became.locator("option")).to_have_text(["Never bill it", "Stripe already counted it"])
    became.select_option(label="Stripe already counted it")
    became.select_option(label="Never bill it")
    _done(money, dialog, "Resolve", "1 record resolved.")
    expect(rows).to_have_count(0)
    money.get_by_role("button", name="Waived", exact=True).click()
    expect(rows.locator('[data-label="State"]')).to_have_text("Correction, waived")

    money.goto("/admin/audit")
    done = _rows(money, "Audit log", "Search by actor, action, account, or reason", _email(money))
    expect(done.filter(has_text=WHY).locator("code")).to_have_text(
        ["usage.resolve", "usage.resend"]
    )


def test_item_that_a_job_has_set_aside_is_retried(money: Page, execute: Execute) -> None:
    item = str(uuid4())
    execute(SET_ASIDE, item)
    money.reload()
    table = money.get_by_role("table", name="Failed jobs", exact=True)
    row = table.get_by_role("row").filter(has_text=item)
    expect(row).to_contain_text("Recovering replies")
    expect(row).to_contain_text("CheckViolation 23514")
    _done(money, _asked(money, row, "Retry"), "Retry", "The item is due again.")
    expect(row).to_have_count(0)


def test_plan_that_nobody_pays_for_is_found_and_taken_back(
    money: Page, member: Page, execute: Execute
) -> None:
    email = _email(member)
    execute(PAID_BY_NOBODY, email)
    rows = _rows(money, "Plans that differ", "Search by email or customer ID", email)
    money.get_by_role("button", name="Compare all users", exact=True).click()
    expect(rows).to_have_count(1)
    expect(rows.locator('[data-label="Has"]')).to_have_text("Business")
    expect(rows.locator('[data-label="Stripe says"]')).to_have_text("Free")
    dialog = _asked(money, rows, "Correct")
    _done(money, dialog, "Correct", "Changed from Business to Free.")
    expect(rows).to_have_count(0)


def test_page_fits_a_phone_with_something_in_each_part(money: Page, execute: Execute) -> None:
    money.set_viewport_size(PHONE)
    event, customer, email = f"evt_{uuid4().hex}", f"cus_{uuid4().hex}", _email(money)
    execute(FAILED, event)
    execute(DRIFT, customer)
    execute(SET_ASIDE, str(uuid4()))
    execute(PAID_BY_NOBODY, email)
    expect(_stuck(money, execute, "parked")).to_contain_text("1,234")
    search = "Search by event ID, type, or customer ID"
    expect(_rows(money, "Webhook events", search, event)).to_contain_text(event)
    search = "Search by customer ID or email"
    expect(_rows(money, "Usage by customer and day", search, customer)).to_contain_text(customer)
    rows = _rows(money, "Plans that differ", "Search by email or customer ID", email)
    money.get_by_role("button", name="Compare all users", exact=True).click()
    expect(rows).to_contain_text(email)
    assert money.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
