"""An admin suspends somebody and lifts it again, each in a Chromium of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from aisaas.settings import PROJECT_ROOT
from tests.ui.conftest import PASSWORD, SignUp, browsing, signed_up
from tests.ui.pages import answered, refused

QUICK = "long 8 speed 0"
WHY = "sent spam"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def member(chromium: Browser, url: str) -> Generator[Page]:
    """Somebody else, at a device of theirs."""
    with browsing(chromium, url) as device:
        yield signed_up(device)


@pytest.fixture
def admin(sign_up: SignUp, shared_folder: Path) -> Page:
    """Made one by an operator, beside the running instance."""
    page = sign_up()
    email = page.locator(".account-email").text_content() or ""
    subprocess.run(
        [sys.executable, "-m", "aisaas", "admin", "grant", email, "--reason", "runs this"],
        env=os.environ | {"AISAAS_DATA_DIR": str(shared_folder / "data")},
        cwd=PROJECT_ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return page


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
    expect(admin.get_by_role("table", name="Done to this account")).to_contain_text(WHY)

    refused(member, "am I still here?", "unauthenticated")
    member.goto("/login?redirectTo=/chat")
    member.get_by_role("textbox", name="Email").fill(email)
    member.get_by_role("textbox", name="Password").fill(PASSWORD)
    member.get_by_role("button", name="Sign in", exact=True).click()
    member.wait_for_url("**/chat")
    alert = refused(member, "and now?", "suspended")
    expect(alert).not_to_contain_text(WHY)

    act(admin, "Lift the suspension", "Lift it", Reason="it was a mistake")
    expect(admin.get_by_role("button", name="Suspend", exact=True)).to_be_visible()
    answered(member, QUICK)
