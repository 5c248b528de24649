"""What a person does with versions of a message, in a real Chromium against the whole product."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.ui.conftest import EVERYBODYS, Execute, SignUp
from tests.ui.pages import ends, say

pytestmark = pytest.mark.timeout(400)
PLAIN = re.compile(r"/chat/[0-9a-f-]{36}$")


def questions(page: Page) -> Locator:
    return page.locator("article[data-role=user]")


def replies(page: Page) -> Locator:
    return page.locator("article[data-role=assistant]")


def test_versions_of_questions_and_replies_are_kept_and_stepped_between(
    sign_up: SignUp, execute: Execute, context: BrowserContext
) -> None:
    execute(EVERYBODYS)
    page = sign_up()
    ends(say(page, "table"), "done")
    ends(say(page, "long 8 speed 0"), "done")
    question = questions(page).first
    edit_in_other_words(page, question)
    older = step_by_keyboard(page, question, context)
    # The next message follows the path in view.
    ends(say(page, "long 8 speed 0"), "done")
    expect(page).to_have_url(PLAIN)
    expect(question.locator(".bubble")).to_have_text("code")
    regenerate_by_another_model(page)
    page.reload()
    expect(replies(page).last).to_contain_text("3 / 3")
    expect(question.locator(".bubble")).to_have_text("code")
    # An address stays that of its version.
    page.goto(older)
    expect(question.locator(".bubble")).to_have_text("table")
    expect(replies(page)).to_have_count(2)
    expect(replies(page).first.get_by_role("table")).to_be_visible()


def edit_in_other_words(page: Page, question: Locator) -> None:
    """What followed the question is another path."""
    question.hover()
    question.get_by_role("button", name="Edit").click()
    editor = page.get_by_role("textbox", name="Edit message")
    expect(editor).to_be_focused()
    expect(editor).to_have_value("table")
    editor.fill("given up")
    editor.press("Escape")
    expect(editor).to_have_count(0)
    question.get_by_role("button", name="Edit").click()
    expect(editor).to_have_value("table")
    editor.fill("code")
    page.get_by_role("button", name="Save and send").click()
    expect(editor).to_have_count(0)
    expect(replies(page)).to_have_count(1)
    ends(replies(page), "done")
    expect(question).to_contain_text("code")
    expect(question).to_contain_text("2 / 2")
    expect(replies(page).locator("pre")).not_to_have_count(0)


def step_by_keyboard(page: Page, question: Locator, context: BrowserContext) -> str:
    """To the other version and back. The address of the first."""
    back = question.get_by_role("link", name="Previous version")
    back.focus()
    page.keyboard.press("Enter")
    expect(question).to_contain_text("1 / 2")
    expect(question.locator(".bubble")).to_have_text("table")
    expect(replies(page)).to_have_count(2)
    expect(back).to_be_focused()
    expect(back).to_have_attribute("aria-disabled", "true")
    expect(page).to_have_url(re.compile(r"\?message=[0-9a-f-]{36}$"))
    older = page.url
    # The path in view is the conversation's, in any tab.
    other = context.new_page()
    other.goto(older.partition("?")[0])
    expect(replies(other)).to_have_count(2)
    other.close()
    question.get_by_role("link", name="Next version").click()
    expect(question).to_contain_text("2 / 2")

    return older


def regenerate_by_another_model(page: Page) -> None:
    reply = replies(page).last
    reply.get_by_role("button", name="Regenerate", exact=True).click()
    expect(reply).to_contain_text("2 / 2")
    ends(reply, "done")
    reply.get_by_role("button", name="Regenerate with another model").click()
    page.get_by_role("button", name="Demo large").click()
    expect(reply).to_contain_text("3 / 3")
    ends(reply, "done")
    expect(reply).to_contain_text("Demo large")
    expect(page.get_by_role("combobox", name="Model")).to_have_value("demo-large")
    expect(replies(page)).to_have_count(2)
