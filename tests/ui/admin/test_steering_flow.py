"""The steering page in a real Chromium: what an admin does there, a user meets with the next message."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from aisaas.settings import PROJECT_ROOT
from tests.ui.conftest import SignUp, browsing, signed_up
from tests.ui.pages import answered, ends, refused, say

WHY = "tried in a browser"

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
    page.goto("/admin/steering")
    expect(page.get_by_role("heading", name="Steering")).to_be_visible()
    return page


def _asked(within: Page | Locator, button: str, page: Page) -> Locator:
    within.get_by_role("button", name=button, exact=True).click()
    return page.get_by_role("dialog")


def _confirm(dialog: Locator, button: str) -> None:
    dialog.get_by_label("Reason").fill(WHY)
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(dialog).to_be_hidden()


def test_admin_stops_what_runs_and_lets_it_through_again(admin: Page, member: Page) -> None:
    reply = say(member, "long 2000 speed 40")
    expect(reply).to_contain_text("a")
    dialog = _asked(admin, "Stop calls", admin)
    dialog.get_by_label("Stop", exact=True).select_option(label="Plan Free")
    dialog.get_by_label("Stop running replies, too").check()
    _confirm(dialog, "Stop")
    expect(admin.get_by_role("status").get_by_text("New calls are stopped.")).to_be_visible()
    engaged = admin.get_by_role("table", name="Engaged switches")
    expect(engaged).to_contain_text("Plan Free")
    expect(engaged).to_contain_text(WHY)
    ends(reply, "stopped")
    expect(reply).to_contain_text("Replies are paused for now")
    refused(member, "and now?", "spending_paused")
    _confirm(_asked(engaged, "Lift", admin), "Lift it")
    expect(admin.get_by_text("Nothing is stopped.")).to_be_visible()
    answered(member, "long 8 speed 0")


def test_admin_changes_a_cap_and_a_model_and_gives_both_back(admin: Page, member: Page) -> None:
    tile = admin.locator(".tile").filter(has_text="Free tier, a day")
    dialog = _asked(tile, "Change", admin)
    dialog.get_by_label("USD a day").fill("0")
    # Without a reason nothing is done.
    dialog.get_by_role("button", name="Change the cap").click()
    expect(dialog).to_be_visible()
    _confirm(dialog, "Change the cap")
    expect(tile).to_contain_text("of $0.00")
    refused(member, "hello", "spending_paused")
    dialog = _asked(tile, "Change", admin)
    dialog.get_by_label("USD a day").fill("")
    _confirm(dialog, "Change the cap")
    expect(tile).to_contain_text("as in the settings")
    answered(member, "long 8 speed 0")

    row = admin.get_by_role("table", name="Models").get_by_role("row").filter(has_text="Demo large")
    plans = row.locator('[data-label="Plans"]')
    expect(plans).to_have_text("Pro, Business")
    dialog = _asked(row, "Change", admin)
    dialog.get_by_label("On Free").check()
    dialog.get_by_label("Weight").fill("0")
    _refused_in(dialog, "A weight is more than 0.")
    dialog.get_by_label("Weight").fill("2")
    dialog.get_by_role("button", name="Change the model").click()
    expect(dialog).to_be_hidden()
    expect(plans).to_have_text("Free, Pro, Business")
    expect(row.locator('[data-label="Margin"]')).to_contain_text("Free: up to")
    member.reload()
    expect(member.get_by_role("combobox", name="Model")).to_contain_text("Demo large")
    dialog = _asked(row, "Change", admin)
    expect(dialog.get_by_label("On Free")).to_be_checked()
    dialog.get_by_label("On Free").uncheck()
    dialog.get_by_label("Weight").fill("")
    _confirm(dialog, "Change the model")
    expect(plans).to_have_text("Pro, Business")


def _refused_in(dialog: Locator, sentence: str) -> None:
    dialog.get_by_label("Reason").fill(WHY)
    dialog.get_by_role("button", name="Change the model").click()
    expect(dialog.get_by_role("alert")).to_have_text(sentence)
