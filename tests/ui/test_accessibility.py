"""axe finds nothing on any page: signed out and in, for admins, in both color schemes, wide and
narrow, and with what can be opened opened."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.accessibility import barriers
from tests.ui.conftest import SignUp, make_admin, signed_up
from tests.ui.pages import answered

PUBLIC = ("/", "/login", "/signup", "/reset", "/reset?choose=1", "/confirm", "/not-a-page")
OWN = ("/chat", "/dashboard", "/billing", "/settings")
ADMIN = (
    "/admin",
    "/admin/users",
    "/admin/controls",
    "/admin/providers",
    "/admin/money",
    "/admin/audit",
)
WIDTHS = {"wide": 1280, "narrow": 390}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def session(chromium: Browser, url: str, shared_folder: Path) -> Generator[Page]:
    """An admin who has had a conversation."""
    context = chromium.new_context(base_url=url)
    page = signed_up(context)
    answered(page, "table")
    make_admin(page, shared_folder)
    yield page
    context.close()


@pytest.fixture(params=[(w, s) for w in WIDTHS for s in ("light", "dark")], ids="-".join)
def view(request: pytest.FixtureRequest) -> dict[str, object]:
    width, scheme = request.param
    return {"viewport": {"width": WIDTHS[width], "height": 800}, "color_scheme": scheme}


def is_loaded(page: Page) -> None:
    """The page's own content is there, and what it asked for has come."""
    expect(page.get_by_role("main")).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=20_000)
    expect(page.locator(".waiting-lines")).to_have_count(0, timeout=20_000)
    page.evaluate("document.fonts.ready")


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("path", PUBLIC)
def test_pages_for_anybody(chromium: Browser, url: str, view: Any, path: str) -> None:
    context = chromium.new_context(base_url=url, **view)
    page = context.new_page()
    page.goto(path)
    is_loaded(page)
    assert barriers(page) == []
    assert fits(page)
    context.close()


def test_pages_of_an_account(session: Page, chromium: Browser, view: Any) -> None:
    context = chromium.new_context(
        base_url=session.url, storage_state=session.context.storage_state(), **view
    )
    page = context.new_page()
    found: dict[str, list[str]] = {}
    conversation = re.sub(r"^\w+://[^/]+", "", session.url)
    for path in ("/", "/not-a-page", *OWN, conversation, *ADMIN):
        page.goto(path)
        is_loaded(page)
        found[path] = barriers(page)
        assert fits(page), path
    page.goto("/admin/users")
    page.get_by_role("table").get_by_role("link").first.click()
    page.wait_for_url(re.compile("/admin/users/.+"))
    is_loaded(page)
    found["user"] = barriers(page)
    # What opens.
    page.locator("main [aria-haspopup=dialog]:visible").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    found["dialog"] = barriers(page)
    page.goto("/chat")
    is_loaded(page)
    page.get_by_role("button", name="Account", exact=True).click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    found["menu"] = barriers(page)
    page.keyboard.press("Escape")
    if page.get_by_role("button", name="Show conversations").is_visible():
        page.get_by_role("button", name="Show conversations").click()
        expect(page.get_by_role("button", name="New chat")).to_be_visible()
        found["drawer"] = barriers(page)
    page.goto("/settings")
    is_loaded(page)
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    found["question"] = barriers(page)
    assert {name: each for name, each in found.items() if each} == {}
    context.close()


def test_axe_would_find_something(sign_up: SignUp) -> None:
    page = sign_up()
    is_loaded(page)
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<a href=\"/\"></a>')"
    )
    assert any(each.startswith("link-name") for each in barriers(page))
