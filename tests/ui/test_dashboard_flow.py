"""A user's own page of usage, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect

from aisaas.cli.instance import Running, running_in
from childprocess.folder import DataFolder
from tests.ui.conftest import SignUp, started
from tests.ui.pages import answered, refused

QUICK = "long 8 speed 0"
PAGES_OF_TWENTY = 45
PHONE = {"width": 360, "height": 740}

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("usage")


@pytest.fixture(scope="module")
def url(folder: Path) -> Generator[str]:
    """In place of everybody's instance: a ledger is written to by hand."""
    variables = {"FREE_REQUESTS_PER_MINUTE": "3", "DEMO_TOKENS_PER_SECOND": "0"}
    with started(folder, **variables) as address:
        yield address


@pytest.fixture
def instance(folder: Path, url: str) -> Running:
    found = running_in(DataFolder(folder / "data"))
    assert found is not None
    assert found.url == url
    return found


def usage(page: Page) -> Page:
    page.goto("/dashboard")
    expect(page.get_by_role("heading", name="Usage")).to_be_visible()
    return page


def card(page: Page, heading: str) -> Locator:
    return page.locator("section").filter(has=page.get_by_role("heading", name=heading, exact=True))


def receipts(page: Page) -> Locator:
    return page.get_by_role("table", name="Recent replies").locator("tbody tr")


def today(page: Page) -> Locator:
    return page.locator(".chart-day").last


def number(text: str | None) -> int:
    return int(re.sub(r"\D", "", text or "") or -1)


def in_the_database(instance: Running, statement: str, *values: object) -> None:
    with psycopg.connect(instance.env["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(statement, values)  # pyright: ignore[reportArgumentType]


def grow_the_ledger(page: Page, instance: Running, records: int) -> None:
    """Lines of the last days, a minute apart, for the signed-in user."""
    email = page.locator(".account-email").text_content()
    in_the_database(
        instance,
        "insert into usage_records (reservation_id, user_id, purpose, plan, model, provider,"
        " prompt_tokens, completion_tokens, counted_by, weight, quota_tokens, period_key,"
        " input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome, created_at)"
        " select gen_random_uuid(), p.id, 'reply', 'free', 'demo', 'demo', n, 1, 'provider', 1, n + 1,"
        " 'earlier', 1, 1, 'tests', 0, 'done', now() - n * interval '1 minute'"
        " from generate_series(1, %s) n, profiles p where p.email = %s",
        records,
        email,
    )


def test_a_new_account_has_used_nothing(sign_up: SignUp) -> None:
    page = usage(sign_up())
    expect(card(page, "This period").locator(".figure")).to_have_text("0")
    expect(page.get_by_text("No usage in the last 30 days.")).to_be_visible()
    expect(page.get_by_text("No usage yet in this period.")).to_be_visible()
    expect(page.get_by_text("Your first reply will appear here.")).to_be_visible()
    expect(page.get_by_text("No refused messages in the last 30 days.")).to_be_visible()


def test_a_reply_is_counted_everywhere_alike_and_leads_back(sign_up: SignUp) -> None:
    page = sign_up()
    answered(page, QUICK)
    page.wait_for_url("**/chat/*")
    conversation = page.url
    expect(page.locator(".row a")).not_to_have_text("New Conversation")
    usage(page)
    expect(receipts(page)).to_have_count(2)
    used = number(card(page, "This period").locator(".figure").text_content())
    counted = receipts(page).locator("[data-label='Counts as']").all_text_contents()
    assert used == sum(map(number, counted)) > 0
    expect(today(page)).to_have_attribute("data-total", str(used))
    model = card(page, "This period by model").locator("li")
    expect(model).to_have_count(1)
    expect(model).to_contain_text("100%")
    expect(model).to_contain_text(re.compile(rf"{used:,} tokens · 1 reply$"))
    page.get_by_role("button", name="Replies").click()
    expect(today(page)).to_have_attribute("data-total", "1")
    receipts(page).last.get_by_role("link").click()
    page.wait_for_url(conversation)
    expect(page.locator("article")).to_have_count(2)


def test_the_chart_can_be_read_with_the_keyboard_and_as_a_table(
    sign_up: SignUp, instance: Running
) -> None:
    page = sign_up()
    grow_the_ledger(page, instance, 10)
    usage(page)
    today(page).focus()
    tip = page.locator(".chart-tip")
    days = page.locator(".chart-day")
    expect(days).to_have_count(30)
    name = today(page).get_attribute("aria-label") or ""
    expect(tip).to_contain_text(name.split(": ")[1])
    page.keyboard.press("Home")
    expect(days.first).to_be_focused()
    expect(tip).to_contain_text("0 tokens")
    page.keyboard.press("ArrowRight")
    expect(days.nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(tip).to_have_count(0)
    expect(page.locator(".chart-day[tabindex='0']")).to_have_count(1)
    page.get_by_text("Show as table").click()
    table = page.get_by_role("table", name="Usage by day and model")
    shown = table.locator("tbody tr td:nth-child(3)").all_text_contents()
    assert sum(map(number, shown)) == sum(range(2, 12))


def test_a_tip_follows_the_pointer(sign_up: SignUp, instance: Running) -> None:
    page = sign_up()
    grow_the_ledger(page, instance, 10)
    usage(page)
    today(page).hover()
    expect(page.locator(".chart-tip")).to_contain_text("tokens")
    page.get_by_role("heading", name="Usage").hover()
    expect(page.locator(".chart-tip")).to_have_count(0)


def test_a_refusal_shows_up_with_its_reason(sign_up: SignUp) -> None:
    page = sign_up()
    for _ in range(3):
        answered(page, QUICK)
    refused(page, "the fourth", "rate_limited_minute")
    usage(page)
    rows = page.get_by_role("table", name="Refused messages").locator("tbody tr")
    while rows.count() == 0:
        page.wait_for_timeout(200)
        usage(page)
        page.wait_for_selector("table[aria-label='Refused messages'], .card:last-child .quiet")
    expect(rows).to_have_count(1)
    expect(rows.locator("[data-label=Reason]")).to_have_text("Message limit per minute reached")
    expect(rows.locator("[data-label=Count]")).to_have_text("1 time")
    expect(rows.locator("[data-label=Model]")).to_have_text("Demo")
    expect(page.locator("body")).not_to_contain_text("the fourth")


def test_pages_are_turned_in_either_direction(sign_up: SignUp, instance: Running) -> None:
    page = sign_up()
    grow_the_ledger(page, instance, PAGES_OF_TWENTY)
    usage(page)
    newer = page.get_by_role("button", name="Newer")
    older = page.get_by_role("button", name="Older")
    pages = page.get_by_role("navigation", name="Pages of replies")

    def first() -> str:
        return receipts(page).first.locator("[data-label='Tokens in']").text_content() or ""

    expect(newer).to_have_attribute("aria-disabled", "true")
    assert (receipts(page).count(), first()) == (20, "1")
    older.click()
    expect(pages).to_contain_text("Page 2")
    assert first() == "21"
    expect(older).to_be_focused()
    older.click()
    expect(pages).to_contain_text("Page 3")
    expect(receipts(page)).to_have_count(5)
    expect(older).to_have_attribute("aria-disabled", "true")
    # It stays, so that it keeps the focus, and does nothing.
    older.press("Enter")
    newer.click()
    expect(pages).to_contain_text("Page 2")
    assert first() == "21"
    newer.click()
    expect(pages).to_contain_text("Page 1")
    assert first() == "1"


def test_a_deleted_conversation_keeps_its_receipts_without_a_link(
    sign_up: SignUp, instance: Running
) -> None:
    page = sign_up()
    answered(page, QUICK)
    page.wait_for_url("**/chat/*")
    expect(page.locator(".row a")).not_to_have_text("New Conversation")
    conversation = UUID(page.url.rsplit("/", 1)[1])
    in_the_database(instance, "delete from conversations where id = %s", conversation)
    usage(page)
    expect(receipts(page).first).to_contain_text("Deleted conversation")
    expect(receipts(page).get_by_role("link")).to_have_count(0)


def test_nothing_scrolls_sideways_on_a_phone(sign_up: SignUp, instance: Running) -> None:
    page = sign_up()
    answered(page, QUICK)
    grow_the_ledger(page, instance, 5)
    page.set_viewport_size(PHONE)  # pyright: ignore[reportArgumentType]
    usage(page)
    expect(receipts(page).first).to_be_visible()
    page.get_by_text("Show as table").click()
    width = "[document.documentElement.scrollWidth, ...[...document.querySelectorAll('.card')].map((card) => card.scrollWidth)]"
    assert max(page.evaluate(width)) <= PHONE["width"]
    wide = "[...document.querySelectorAll('.card *')].filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML.slice(0, 80))"
    assert page.evaluate(wide) == []
    labels = page.locator(".chart-label").all_text_contents()
    assert len([label for label in labels if re.search("[a-z]{3}", label)]) < 10
