"""The page of all users' usage, in a real Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from tests.ui.admin.conftest import Execute
from tests.ui.conftest import SignUp

# A day long before there was anything else, and its two dear users among thirty.
DAY = "2011-05-04"
USERS = 30
PHONE: ViewportSize = {"width": 360, "height": 740}
LEDGER = """
insert into usage_records (reservation_id, user_id, purpose, counted_by, weight, quota_tokens,
  period_key, input_usd_per_million, output_usd_per_million, price_version, created_at, model,
  provider, plan, prompt_tokens, completion_tokens, cost_usd, outcome)
select gen_random_uuid(), coalesce((select id from profiles where email = %s and n = 0),
    gen_random_uuid()), 'reply', 'provider', 1, 15, 'tests', 1, 1, 'tests',
  timestamptz '2011-05-04 09:30Z', 'long-gone', 'elsewhere', 'free', 10, 5,
  case when n < 2 then 3 - n else 0.01 end, 'done'
from generate_series(0, %s) n
"""

pytestmark = pytest.mark.timeout(300)


def be(role: str, page: Page, execute: Execute) -> str:
    """Give the signed-in user that role; returns their address."""
    email = page.locator(".account-email").text_content() or ""
    execute("update profiles set role = %s where email = %s", role, email)
    return email


def tile(page: Page, name: str) -> Locator:
    return page.locator(".tile").filter(has=page.get_by_text(name, exact=True)).locator("dd").first


def column(table: Locator, name: str) -> list[str]:
    return table.locator(f'[data-label="{name}"]').all_text_contents()


def test_an_admin_looks_at_a_day_and_who_used_it(sign_up: SignUp, execute: Execute) -> None:
    page = sign_up()
    email = be("admin", page, execute)
    execute(LEDGER, email, USERS - 1)
    page.reload()
    page.get_by_role("link", name="Admin").click()
    expect(page.get_by_role("heading", name="Now")).to_be_visible()

    page.get_by_label("From", exact=True).fill(DAY)
    page.get_by_label("To", exact=True).fill(DAY)
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("heading", name="May 4, 2011 (UTC)")).to_be_visible()
    expect(tile(page, "Requests")).to_have_text("30")
    expect(tile(page, "Model tokens in")).to_have_text("300")
    expect(tile(page, "Cost")).to_have_text("$5.28")
    expect(tile(page, "Active users")).to_have_text("30")
    expect(page.get_by_role("table", name="Shares").locator("tbody tr")).to_contain_text(
        "long-gone"
    )
    page.get_by_role("button", name="By hour").click()
    expect(page.locator(".chart-day")).to_have_count(24)
    expect(page.locator(".chart-day").nth(9)).to_have_attribute("data-total", "30")
    page.get_by_role("button", name="Providers").click()
    expect(page.get_by_role("table", name="Shares").locator("tbody tr")).to_contain_text(
        "elsewhere"
    )

    table = page.get_by_role("table", name="Users")
    expect(table.locator("tbody tr")).to_have_count(25)
    assert column(table, "Cost")[:3] == ["$3.00", "$2.00", "$0.01"]
    head = table.get_by_role("columnheader", name="Cost")
    expect(head).to_have_attribute("aria-sort", "descending")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(table.locator("tbody tr").first).to_contain_text("$0.01")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("26–30 of 30")).to_be_visible()
    assert column(table, "Cost")[-2:] == ["$2.00", "$3.00"]
    page.get_by_role("searchbox").fill(email)
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_text("1–1 of 1")).to_be_visible()
    expect(table.locator("tbody tr")).to_contain_text(email)

    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download by user").click()
    lines = downloading.value.path().read_text("utf-8").splitlines()
    assert len(lines) == 1 + USERS
    assert sum(email in line for line in lines) == 1

    table.get_by_role("link", name=email).click()
    expect(page.get_by_role("heading", name=email)).to_be_visible()


def test_the_page_fits_a_phone(sign_up: SignUp, execute: Execute) -> None:
    page = sign_up()
    be("admin", page, execute)
    page.set_viewport_size(PHONE)
    page.goto("/admin")
    page.get_by_text("Show as table").click()
    expect(page.get_by_role("table", name="All figures")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    tabs = page.get_by_role("navigation", name="Administration")
    for width in (PHONE["width"], 320):
        page.set_viewport_size({"width": width, "height": PHONE["height"]})
        boxes = [tab.bounding_box() for tab in tabs.get_by_role("link").all()]
        assert all(box is not None and box["x"] + box["width"] <= width for box in boxes)


def test_what_goes_on_is_shown_without_a_reload_until_the_role_is_gone(
    sign_up: SignUp, execute: Execute
) -> None:
    page = sign_up()
    be("admin", page, execute)
    page.goto("/admin")
    now = page.locator("[data-at]")
    before = now.get_attribute("data-at") or ""
    expect(now).not_to_have_attribute("data-at", before)
    be("user", page, execute)
    # Before anything is pressed.
    expect(page.get_by_role("heading", name="Page not found")).to_be_visible()
    expect(page.get_by_text("Active users")).to_have_count(0)


def test_a_role_that_is_taken_away_is_gone_with_the_next_click(
    sign_up: SignUp, execute: Execute
) -> None:
    page = sign_up()
    be("admin", page, execute)
    page.goto("/admin/audit")
    expect(page.get_by_role("button", name="Search")).to_be_visible()
    be("user", page, execute)
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="Page not found")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(0)


@pytest.mark.parametrize("address", ["/admin", "/admin/audit"])
def test_for_everybody_else_there_is_nothing_at_these_addresses(
    sign_up: SignUp, execute: Execute, address: str
) -> None:
    page = sign_up()
    be("user", page, execute)
    page.reload()
    expect(page.get_by_role("button", name="Account", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Settings")).to_be_visible()
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    page.goto(address)
    expect(page.get_by_role("heading", name="Page not found")).to_be_visible()
    expect(page.get_by_role("navigation", name="Administration")).to_have_count(0)
