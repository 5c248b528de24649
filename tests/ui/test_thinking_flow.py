"""What a person sees of a model that thinks, and of each way in which a reply ends."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import SignUp
from tests.ui.pages import answered, ends, is_as_stored, say

pytestmark = pytest.mark.timeout(400)


def effort(page: Page) -> str:
    return page.get_by_role("combobox", name="Thinking").input_value()


def test_thinking_is_streamed_collapsed_and_copied_on_demand(sign_up: SignUp) -> None:
    page = sign_up()
    reply = say(page, "think 4 long 30")
    expect(reply.locator("summary")).to_have_text(re.compile(r"^Thinking… \d+ s$"))
    ends(reply, "done")
    expect(reply.locator("summary")).to_have_text(re.compile(r"^Thought for \d+ s$"))
    thought = reply.locator(".thought-text")
    expect(thought).to_be_hidden()
    reply.locator("summary").click()
    expect(thought).to_contain_text("Let me see what is asked here.")
    reply.get_by_role("button", name="Copy thinking").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("Let me see what is asked here.")
    assert "long answer" not in copied.lower()
    expect(reply).to_contain_text("(80 thinking)")
    reply.get_by_role("button", name="Copy reply").click()
    assert "Let me see" not in page.evaluate("navigator.clipboard.readText()")
    is_as_stored(page, page.locator("article[data-role=assistant]"))


def test_thinking_goes_on_where_it_was_after_a_reload(sign_up: SignUp) -> None:
    page = sign_up()
    reply = say(page, "think 6 long 30")
    expect(reply.locator(".thought-text")).to_contain_text("Let me see")
    page.reload()
    reply = page.locator("article[data-role=assistant]")
    expect(reply.locator("summary")).to_have_text(re.compile(r"^Thinking… \d+ s$"))
    ends(reply, "done")
    whole = reply.locator(".thought-text").text_content()
    assert whole is not None
    page.reload()
    expect(reply.locator(".thought-text")).to_have_text(whole)


def test_hidden_thinking_shows_for_how_long(sign_up: SignUp) -> None:
    page = sign_up()
    page.get_by_role("combobox", name="Thinking").select_option("low")
    reply = say(page, "hide 4 long 30")
    expect(reply.locator(".thought")).to_have_text(re.compile(r"^Thinking… [1-9]\d* s$"))
    ends(reply, "done")
    expect(reply.locator(".thought")).to_have_text(re.compile(r"^Thought for \d+ s$"))
    expect(reply.locator("details")).to_have_count(0)


def test_model_that_is_not_known_to_think_shows_how_long_it_is_waited_for(sign_up: SignUp) -> None:
    reply = say(sign_up(), "hide 6 long 30")
    expect(reply.locator(".waiting")).to_have_text(re.compile(r"Waiting… [3-9] s$"))
    ends(reply, "done")
    expect(reply.locator(".waiting")).to_have_count(0)


def test_stop_while_it_thinks_keeps_and_counts_what_it_thought(sign_up: SignUp) -> None:
    page = sign_up()
    reply = say(page, "think 60")
    expect(reply.locator(".thought-text")).to_contain_text("Let me see")
    page.get_by_role("button", name="Stop").click()
    ends(reply, "stopped")
    expect(reply.locator("summary")).to_have_text(re.compile("^Thought for"))
    expect(reply).to_contain_text("You stopped this reply.")
    expect(reply).to_contain_text("thinking)")
    expect(reply.get_by_role("button", name="Retry")).to_be_visible()


def test_how_much_it_thinks_is_chosen_by_conversation(sign_up: SignUp) -> None:
    page = sign_up()
    assert effort(page) == ""
    page.get_by_role("combobox", name="Thinking").select_option("low")
    reply = answered(page, "hello")
    expect(reply.locator("summary")).to_have_text(re.compile("^Thought for"))
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    page.reload()
    expect(page.get_by_role("combobox", name="Thinking")).to_have_value("low")
    page.get_by_role("combobox", name="Thinking").select_option("none")
    expect(answered(page, "hello").locator(".thought")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("combobox", name="Thinking")).to_have_value("none")
    page.get_by_role("button", name="New chat").click()
    expect(page.get_by_role("combobox", name="Thinking")).to_have_value("")


def test_a_reply_at_its_limit_goes_on_in_the_same_message(sign_up: SignUp) -> None:
    page = sign_up()
    reply = say(page, "limit after 40 speed 200")
    ends(reply, "done")
    expect(reply).to_contain_text("This reply reached its length limit.")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    before = reply.locator(".prose").text_content() or ""
    page.evaluate(
        """() => {
          const article = document.querySelector("article[data-role=assistant]");
          window.shortest = Infinity;
          new MutationObserver(() => {
            const length = article.querySelector(".prose")?.textContent.length ?? 0;
            window.shortest = Math.min(window.shortest, length);
          }).observe(article, { subtree: true, childList: true, characterData: true });
        }"""
    )
    page.get_by_role("button", name="Continue").click()
    expect(reply.locator(".message-note")).to_have_count(0)
    expect(page.get_by_role("button", name="Continue")).to_have_count(0)
    ends(reply, "done")
    expect(page.locator("article[data-role=assistant]")).to_have_count(1)
    after = reply.locator(".prose").text_content() or ""
    assert len(after) > len(before) + 100
    assert after.startswith(before[:100])
    # The earlier text stays in view all the time.
    assert page.evaluate("window.shortest") > 100
    is_as_stored(page, reply)


@pytest.mark.parametrize(
    ("command", "status", "sentence"),
    [
        ("filter after 0", "failed", "The provider's content filter blocked this reply."),
        ("filter after 20", "interrupted", "The provider's content filter blocked this reply."),
        ("refuse", "interrupted", "The model declined to answer."),
        ("empty", "failed", "The model sent an empty reply."),
        ("think 1 empty", "failed", "The model used all of its tokens for thinking"),
        ("cut after 20", "interrupted", "This reply was cut off."),
        ("fail", "failed", "The model didn't reply."),
    ],
)
def test_each_ending_has_its_sentence_and_its_retry(
    sign_up: SignUp, command: str, status: str, sentence: str
) -> None:
    page = sign_up()
    reply = say(page, command)
    ends(reply, status)
    expect(reply.locator(".message-note")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    # A reply that the model itself ended isn't continued.
    continues = int(command.startswith("cut"))
    expect(page.get_by_role("button", name="Continue")).to_have_count(continues)


def test_a_reply_that_is_never_closed_is_complete_soon_after_its_finish(sign_up: SignUp) -> None:
    reply = say(sign_up(), "linger")
    ends(reply, "done")
    expect(reply.locator(".message-note")).to_have_count(0)
