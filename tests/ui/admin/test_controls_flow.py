"""The controls page in a real Chromium: what an admin does there, a user meets with the next message."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.pages import answered, ends, refused, say

WHY = "tried in a browser"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def controls(admin: Page) -> Page:
    """The page, as an admin sees it."""
    admin.goto("/admin/controls")
    expect(admin.get_by_role("heading", name="Controls")).to_be_visible()
    return admin


def _asked(within: Page | Locator, button: str, page: Page) -> Locator:
    within.get_by_role("button", name=button, exact=True).click()
    return page.get_by_role("dialog")


def _confirm(dialog: Locator, button: str) -> None:
    dialog.get_by_label("Reason").fill(WHY)
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(dialog).to_be_hidden()


def test_admin_stops_what_runs_and_lets_it_through_again(controls: Page, member: Page) -> None:
    reply = say(member, "long 2000 speed 40")
    expect(reply).to_contain_text("a")
    dialog = _asked(controls, "Stop calls", controls)
    dialog.get_by_label("Stop", exact=True).select_option(label="Plan Free")
    dialog.get_by_label("Also stop running replies").check()
    _confirm(dialog, "Stop")
    expect(controls.get_by_role("status").get_by_text("New calls are stopped.")).to_be_visible()
    engaged = controls.get_by_role("table", name="Stopped calls")
    expect(engaged).to_contain_text("Plan Free")
    expect(engaged).to_contain_text(WHY)
    ends(reply, "stopped")
    expect(reply).to_contain_text("Replies were paused")
    refused(member, "and now?", "spending_paused")
    _confirm(_asked(engaged, "Resume", controls), "Resume")
    expect(controls.get_by_text("All calls are allowed.")).to_be_visible()
    answered(member, "long 8 speed 0")


def test_admin_changes_a_cap_and_a_model_and_gives_both_back(controls: Page, member: Page) -> None:
    tile = controls.locator(".tile").filter(has_text="Free accounts, per day")
    dialog = _asked(tile, "Change", controls)
    dialog.get_by_label("USD per day").fill("0")
    # Without a reason nothing is done.
    dialog.get_by_role("button", name="Change cap").click()
    expect(dialog).to_be_visible()
    _confirm(dialog, "Change cap")
    expect(tile).to_contain_text("of $0.00")
    refused(member, "hello", "spending_paused")
    dialog = _asked(tile, "Change", controls)
    dialog.get_by_label("USD per day").fill("")
    _confirm(dialog, "Change cap")
    expect(tile).to_contain_text("From the settings.")
    answered(member, "long 8 speed 0")

    row = (
        controls.get_by_role("table", name="Models")
        .get_by_role("row")
        .filter(has_text="Demo large")
    )
    plans = row.locator('[data-label="Plans"]')
    expect(plans).to_have_text("Pro, Business")
    dialog = _asked(row, "Change", controls)
    dialog.get_by_label("On Free").check()
    dialog.get_by_label("Weight").fill("0")
    _refused_in(dialog, "The weight must be more than 0.")
    dialog.get_by_label("Weight").fill("2")
    dialog.get_by_role("button", name="Change model").click()
    expect(dialog).to_be_hidden()
    expect(plans).to_have_text("Free, Pro, Business")
    expect(row.locator('[data-label="Margin"]')).to_contain_text("Free: up to")
    member.reload()
    expect(member.get_by_role("combobox", name="Model")).to_contain_text("Demo large")
    dialog = _asked(row, "Change", controls)
    expect(dialog.get_by_label("On Free")).to_be_checked()
    dialog.get_by_label("On Free").uncheck()
    dialog.get_by_label("Weight").fill("")
    _confirm(dialog, "Change model")
    expect(plans).to_have_text("Pro, Business")


def test_admin_adds_a_found_model_retires_it_and_removes_it(controls: Page, member: Page) -> None:
    controls.get_by_role("searchbox", name="Name contains").fill("demo-")
    controls.get_by_role("button", name="Find models").click()
    found = controls.get_by_role("table", name="Found models")
    expect(controls.get_by_text("2 models found.")).to_be_visible()
    expect(found).to_contain_text("In the list as Demo large")
    dialog = _asked(found.get_by_role("row").filter(has_text="demo-small"), "Add", controls)
    dialog.get_by_label("Name").fill("Demo small")
    dialog.get_by_label("On Free").check()
    dialog.get_by_label("Context window").fill("16000")
    dialog.get_by_label("Output limit").fill("4096")
    dialog.get_by_label("Reason").fill(WHY)
    dialog.get_by_role("button", name="Add model", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("Enter what the provider charges.")
    dialog.get_by_label("USD per 1M model tokens in").fill("0.1")
    dialog.get_by_label("USD per 1M model tokens out").fill("0.2")
    _confirm(dialog, "Add model")
    expect(found).to_contain_text("In the list as Demo small")
    models = controls.get_by_role("table", name="Models", exact=True)
    row = models.get_by_role("row").filter(has_text="Demo small")
    expect(row).to_contain_text("Added by an admin")

    member.reload()
    member.get_by_role("combobox", name="Model").select_option(label="Demo small")
    expect(answered(member, "long 8 speed 0")).to_contain_text("Demo small")

    dialog = _asked(row, "Retire", controls)
    dialog.get_by_label("Successor").select_option(label="Demo")
    _confirm(dialog, "Retire model")
    expect(row.locator('[data-label="State"]')).to_have_text("Retired")
    expect(row).to_contain_text("Successor: Demo")
    refused(member, "and now?", "model_retired")
    member.get_by_role("button", name="Continue with Demo").click()
    answered(member, "and now?")
    _confirm(_asked(row, "Restore", controls), "Restore model")
    expect(row.locator('[data-label="State"]')).to_have_text("On")
    _confirm(_asked(row, "Remove", controls), "Remove model")
    expect(row).to_have_count(0)
    member.reload()
    expect(member.get_by_role("combobox", name="Model")).not_to_contain_text("Demo small")


def _refused_in(dialog: Locator, sentence: str) -> None:
    dialog.get_by_label("Reason").fill(WHY)
    dialog.get_by_role("button", name="Change model").click()
    expect(dialog.get_by_role("alert")).to_have_text(sentence)
