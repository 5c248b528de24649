"""The page of money's health in a real Chromium: what is stuck is decided, and a plan put right."""

from __future__ import annotations

from uuid import uuid4

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from tests.ui.admin.conftest import Execute

WHY = "tried in a browser"
PHONE: ViewportSize = {"width": 390, "height": 844}
STUCK = """
insert into usage_outbox (user_id, identifier, stripe_customer_id, tokens, event_at, state, attempts,
  last_error, first_sent_at)
values (gen_random_uuid(), %s, %s, 1234, now() - interval '26 hours', %s, 1, 'archived: no meter',
  now() - interval '25 hours')
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def money(admin: Page) -> Page:
    """The page, as an admin comes to it."""
    admin.goto("/admin")
    admin.get_by_role("navigation", name="Administration").get_by_role("link", name="Money").click()
    expect(admin.get_by_role("heading", name="Money", exact=True)).to_be_visible()
    return admin


def _rows(page: Page, table: str, search: str, typed: str) -> Locator:
    """The rows of that table, after a search."""
    box = page.get_by_role("searchbox", name=search)
    box.fill(typed)
    box.press("Enter")
    return page.get_by_role("table", name=table).locator("tbody").get_by_role("row")


def _decide(page: Page, within: Locator, button: str, confirm: str, said: str) -> None:
    within.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog")
    # Without a reason the dialog stays, and nothing is done.
    dialog.get_by_role("button", name=confirm, exact=True).click()
    expect(dialog).to_be_visible()
    dialog.get_by_label("Reason").fill(WHY)
    dialog.get_by_role("button", name=confirm, exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("status").get_by_text(said)).to_be_visible()


def test_stuck_usage_is_sent_again_and_what_is_hopeless_given_up(
    money: Page, execute: Execute
) -> None:
    customer = f"cus_{uuid4().hex}"
    execute(STUCK, uuid4().hex, customer, "dead")
    rows = _rows(money, "Rows of usage", "How a customer, an address", customer)
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("archived: no meter")
    _decide(money, rows, "Resend", "Resend", "1 row goes out again.")
    expect(rows).to_have_count(0)

    other = f"cus_{uuid4().hex}"
    execute(STUCK, uuid4().hex, other, "dead")
    rows = _rows(money, "Rows of usage", "How a customer, an address", other)
    expect(rows).to_have_count(1)
    _decide(money, rows, "Resolve", "Resolve", "1 row is resolved.")
    expect(rows).to_have_count(0)
    money.get_by_role("button", name="Waived").click()
    expect(rows).to_contain_text("waived")
    money.goto("/admin/audit")
    expect(money.get_by_role("table", name="Audit log")).to_contain_text(WHY)


def test_plan_that_nobody_pays_for_is_found_and_taken_back(
    money: Page, member: Page, execute: Execute
) -> None:
    email = member.locator(".account-email").text_content() or ""
    execute("update profiles set plan = 'business' where email = %s", email)
    rows = _rows(money, "Plans that differ", "How an address or a customer", email)
    money.get_by_role("button", name="Compare everybody").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Business")
    _decide(money, rows, "Correct", "Correct", "They had Business, and have Free now.")
    expect(rows).to_have_count(0)


def test_page_fits_a_phone(money: Page, execute: Execute) -> None:
    customer = f"cus_{uuid4().hex}"
    execute(STUCK, uuid4().hex, customer, "parked")
    money.set_viewport_size(PHONE)
    rows = _rows(money, "Rows of usage", "How a customer, an address", customer)
    expect(rows).to_contain_text("1,234")
    width = money.evaluate("document.documentElement.scrollWidth")
    assert width == PHONE["width"]
