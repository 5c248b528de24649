"""An admin suspends someone and lifts it again, each in a Chromium of their own."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import PASSWORD
from tests.ui.pages import answered, refused

QUICK = "long 8 speed 0"
WHY = "sent spam"

pytestmark = pytest.mark.timeout(400)


def act(page: Page, button: str, confirm: str, **fields: str) -> None:
    """Press a button of the page, answer what it asks, and wait until it is done."""
    page.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog")
    for label, value in fields.items():
        dialog.get_by_label(label).fill(value)
    dialog.get_by_role("button", name=confirm, exact=True).click()
    expect(dialog).to_be_hidden()


def test_suspended_user_is_refused_at_once_and_goes_on_when_it_is_lifted(
    admin: Page, member: Page
) -> None:
    email = member.locator(".account-email").text_content() or ""
    answered(member, QUICK)
    admin.goto("/admin/users")
    search = admin.get_by_role("searchbox")
    search.fill(email.upper())
    search.press("Enter")
    table = admin.get_by_role("table", name="Users")
    expect(table.get_by_role("link")).to_have_text([email])
    table.get_by_role("link", name=email).click()
    expect(admin.get_by_role("heading", name=email)).to_be_visible()
    # Without a reason the dialog stays, and nothing is done.
    admin.get_by_role("button", name="Suspend", exact=True).click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_role("button", name="Suspend", exact=True).click()
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    act(admin, "Suspend", "Suspend", Reason=WHY)
    expect(admin.get_by_role("status").get_by_text("Suspended.")).to_be_visible()
    expect(admin.get_by_role("table", name="Admin actions")).to_contain_text(WHY)

    refused(member, "am I still here?", "unauthenticated")
    member.goto("/login?redirectTo=/chat")
    member.get_by_role("textbox", name="Email").fill(email)
    member.get_by_role("textbox", name="Password").fill(PASSWORD)
    member.get_by_role("button", name="Sign in", exact=True).click()
    member.wait_for_url("**/suspended")
    expect(member.get_by_role("heading", name="Your account is suspended")).to_be_visible()
    expect(member.get_by_role("main")).not_to_contain_text(WHY)

    act(admin, "Unsuspend", "Unsuspend", Reason="it was a mistake")
    expect(admin.get_by_role("button", name="Suspend", exact=True)).to_be_visible()
    member.goto("/chat")
    answered(member, QUICK)
