"""A retired model in a real Chromium: its conversation says so, and goes on with one click."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import EVERYBODYS, Execute, SignUp
from tests.ui.pages import answered, refused

pytestmark = pytest.mark.timeout(400)


RETIRE = (
    "insert into private.model_overrides (model, retired, successor, changed_by)"
    " values (%s, true, %s, 'tests')"
)
EXTRA = (
    "insert into private.added_models (model, label, provider, upstream, context_window, max_output,"
    " plans, added_by) values ('extra', 'Extra', 'demo', 'openai/demo', 16000, 4096, '{free}', 'tests')"
)
PRICE = (
    "insert into private.model_overrides (model, input_usd, output_usd, cached_input_usd,"
    " price_version, changed_by) values ('extra', 1, 2, 1, 'tests', 'tests')"
)


def _picker(page: Page) -> str:
    return page.get_by_role("combobox", name="Model").input_value()


def test_a_retired_model_goes_on_as_its_successor_with_one_click(
    sign_up: SignUp, execute: Execute
) -> None:
    page = sign_up()
    execute(EVERYBODYS)
    answered(page, "long 8 speed 0")
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    execute(RETIRE, "demo", "demo-large")
    # The page doesn't know yet: nothing is sent, and then it knows.
    alert = refused(page, "and now?", "model_retired")
    expect(alert).to_contain_text("Demo has been retired. Choose another model to continue.")
    notice = page.get_by_role("status").filter(has_text="Demo has been retired.")
    expect(notice).to_be_visible()
    page.reload()
    expect(notice).to_be_visible()
    assert _picker(page) == "demo"
    expect(page.get_by_role("option", name="Demo (retired)")).to_have_attribute("disabled", "")
    expect(page.get_by_role("textbox", name="Message")).to_have_value("and now?")
    page.get_by_role("button", name="Continue with Demo large").click()
    expect(notice).to_have_count(0)
    assert _picker(page) == "demo-large"
    reply = answered(page, "and now?")
    expect(reply).to_contain_text("Demo large")


def test_a_message_sent_right_after_the_click_goes_to_the_successor(
    sign_up: SignUp, execute: Execute
) -> None:
    page = sign_up()
    execute(EVERYBODYS)
    answered(page, "long 8 speed 0")
    execute(RETIRE, "demo", "demo-large")
    page.reload()
    page.get_by_role("textbox", name="Message").fill("and now?")
    expect(page.get_by_role("button", name="Continue with Demo large")).to_be_visible()
    # Both before the server has heard of either.
    page.evaluate(
        """() => {
          const named = (name) => [...document.querySelectorAll("button")].find(
            (each) => (each.ariaLabel ?? each.textContent) === name);
          named("Continue with Demo large").click();
          named("Send").click();
        }"""
    )
    replies = page.locator("article[data-role=assistant]")
    expect(replies).to_have_count(2)
    expect(replies.last).to_contain_text("Demo large")


def test_without_a_successor_another_model_is_chosen(sign_up: SignUp, execute: Execute) -> None:
    page = sign_up()
    execute(EVERYBODYS)
    answered(page, "long 8 speed 0")
    execute(RETIRE, "demo", None)
    page.reload()
    notice = page.get_by_role("status").filter(has_text="Demo has been retired.")
    expect(notice).to_contain_text("Choose another model to continue.")
    expect(notice.get_by_role("button")).to_have_count(0)
    page.get_by_role("combobox", name="Model").select_option(label="Demo large")
    expect(notice).to_have_count(0)
    answered(page, "long 8 speed 0")


def test_a_successor_on_another_plan_is_said_with_its_plan(
    sign_up: SignUp, execute: Execute
) -> None:
    page = sign_up()
    # The plan keeps a model.
    execute(EXTRA)
    execute(PRICE)
    answered(page, "long 8 speed 0")
    execute(RETIRE, "demo", "demo-large")
    page.reload()
    notice = page.get_by_role("status").filter(has_text="Demo has been retired.")
    expect(notice).to_contain_text("Its successor, Demo large, is on the Pro plan")
    expect(notice.get_by_role("link", name="See plans")).to_have_attribute("href", "/billing")
    expect(notice.get_by_role("button")).to_have_count(0)
