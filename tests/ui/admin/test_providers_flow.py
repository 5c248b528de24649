"""The page of provider health, in a real Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.ui.admin.conftest import Execute

PHONE: ViewportSize = {"width": 360, "height": 740}
FAILED = """
insert into private.provider_health (step, starts, provider, model, kind, times, last_at)
select step, date_trunc(step, now(), 'UTC'), 'groq-tests', 'llama-tests', %s, %s, now()
from (values ('minute'), ('hour')) as s (step)
on conflict (step, starts, provider, model, kind) do update set times = excluded.times
"""
OPEN = """
insert into private.provider_circuits (process, provider, failures, until, seen_at)
values (gen_random_uuid(), 'groq-tests', 3, now() + interval '10 min', now() + interval '10 min')
"""

pytestmark = pytest.mark.timeout(300)


def test_an_admin_sees_a_reply_and_a_failure_arrive(admin: Page, execute: Execute) -> None:
    page = admin
    box = page.get_by_role("textbox", name="Message")
    box.fill("Hello there")
    box.press("Enter")
    expect(page.locator("article[data-role=assistant][data-status=done]")).to_have_count(1)
    page.goto("/admin")
    page.get_by_role("navigation", name="Administration").get_by_role(
        "link", name="Providers"
    ).click()
    expect(page.get_by_role("heading", name="Providers", level=1)).to_be_visible()
    table = page.get_by_role("table", name="Providers")
    demo = table.locator("tbody tr").filter(has_text="Demo")
    expect(demo.locator('[data-label="First token p50"]')).to_contain_text(" s")
    expect(demo.locator('[data-label="Circuit"]')).to_have_text("Closed")

    # Nothing is pressed.
    execute(FAILED, "AuthenticationError", 7)
    execute(OPEN)
    failing = table.locator("tbody tr").filter(has_text="groq-tests")
    expect(failing.locator('[data-label="Errors"]')).to_contain_text("100%")
    expect(failing.locator('[data-label="Circuit"]')).to_contain_text("Open")
    expect(failing.locator('[data-label="Last failure"]')).to_contain_text("AuthenticationError")
    errors = (
        page.get_by_role("table", name="Errors").locator("tbody tr").filter(has_text="llama-tests")
    )
    expect(errors.locator('[data-label="Count"]')).to_have_text("7")

    page.get_by_role("button", name="24 hours").click()
    expect(page.get_by_role("button", name="24 hours")).to_have_attribute("aria-pressed", "true")
    expect(failing).to_be_visible()


def test_the_page_fits_a_phone(admin: Page, execute: Execute) -> None:
    execute(FAILED, "APIConnectionErrorWithARatherLongName", 1)
    admin.set_viewport_size(PHONE)
    admin.goto("/admin/providers")
    expect(admin.get_by_role("table", name="Models")).to_be_visible()
    for width in (PHONE["width"], 320):
        admin.set_viewport_size({"width": width, "height": PHONE["height"]})
        assert admin.evaluate("document.documentElement.scrollWidth") <= width
