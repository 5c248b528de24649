"""What a person does, in a real Chromium against the whole product: one account's way through it.

Each test leaves the page as a person would find it, and no page may break the security policy.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.ui.conftest import EVERYBODYS, Execute, SignUp
from tests.ui.pages import ends, is_as_stored, meter, say

SLOW = "long 300 speed 60"
# How socket.io begins a message that carries one.
EVENT = "42"

pytestmark = pytest.mark.timeout(400)


def test_a_stranger_signs_up_and_is_answered(sign_up: SignUp) -> None:
    page = sign_up()
    assert meter(page) == 0
    reply = say(page, "table")
    ends(reply, "done")
    expect(reply.get_by_role("table")).to_be_visible()
    expect(reply).to_contain_text("tokens")
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    expect(page.get_by_role("textbox", name="Message")).to_have_value("")
    expect(page.get_by_role("meter", name="Tokens used")).not_to_have_attribute(
        "aria-valuenow", "0"
    )
    listed = page.get_by_role("navigation", name="Conversations").get_by_role("link")
    expect(listed).to_have_count(1)
    expect(listed).not_to_have_text("New Conversation")


def test_markdown_is_shown_and_nothing_in_it_runs(sign_up: SignUp) -> None:
    page = sign_up()
    reply = say(page, "code")
    ends(reply, "done")
    expect(reply.locator(".hljs-keyword").first).to_be_visible()
    reply.get_by_role("button", name="Copy code").first.click()
    assert "def" in page.evaluate("navigator.clipboard.readText()")
    formulas = say(page, "math")
    ends(formulas, "done")
    expect(formulas.locator(".katex").first).to_be_visible()

    # Into another program: its formatting and formulas, and none of the buttons.
    formulas.get_by_role("button", name="Copy as rich text").click()
    page.wait_for_function(
        """async () => (await navigator.clipboard.read())[0].types.includes("text/html")"""
    )
    html = page.evaluate(
        """async () => {
          const [item] = await navigator.clipboard.read();
          return (await item.getType("text/html")).text();
        }"""
    )
    assert "<math" in html
    assert "<button" not in html
    # The browser is asked to read it paragraph by paragraph, until Stop reading is clicked.
    page.evaluate(
        "() => { window.spoken = []; speechSynthesis.speak = ({ text }) => spoken.push(text); }"
    )
    formulas.get_by_role("button", name="Read aloud").click()
    formulas.get_by_role("button", name="Stop reading").click()
    expect(formulas.get_by_role("button", name="Read aloud")).to_be_visible()
    assert len(page.evaluate("spoken")) > 1


def test_a_reply_is_stopped_and_asked_for_again(sign_up: SignUp) -> None:
    page = sign_up()
    reply = say(page, SLOW)
    expect(reply).to_contain_text("A long answer")
    page.get_by_role("button", name="Stop").click()
    ends(reply, "stopped")
    page.get_by_role("button", name="Continue").click()
    ends(reply, "streaming")
    page.get_by_role("button", name="Stop").click()
    ends(reply, "stopped")
    page.get_by_role("button", name="Retry").click()
    replies = page.locator("article[data-role=assistant]")
    expect(replies).to_have_count(2)
    ends(replies.last, "done")


def test_a_reload_in_the_middle_loses_nothing(sign_up: SignUp) -> None:
    page = sign_up()
    reply = say(page, SLOW)
    expect(reply).to_contain_text("A long answer")
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    seen = reply.inner_text()
    page.reload()
    again = page.locator("article[data-role=assistant]")
    expect(again).to_have_count(1)
    expect(again).to_contain_text(seen[:40])
    ends(again, "done")
    # What came in pieces over two page loads is what is stored.
    is_as_stored(page, again)


def test_a_second_tab_follows_the_same_reply(sign_up: SignUp, context: BrowserContext) -> None:
    page = sign_up()
    reply = say(page, SLOW)
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    other = context.new_page()
    other.goto(page.url)
    followed = other.locator("article[data-role=assistant]")
    expect(followed).to_have_count(1)
    ends(reply, "done")
    ends(followed, "done")
    expect(followed).to_have_text(reply.text_content() or "")


def test_a_broken_connection_is_made_up_for(sign_up: SignUp, context: BrowserContext) -> None:
    page = sign_up()
    reply = say(page, SLOW)
    expect(reply).to_contain_text("A long answer")
    context.set_offline(True)
    page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    page.wait_for_timeout(1000)
    context.set_offline(False)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    ends(reply, "done")
    is_as_stored(page, reply)


def test_a_refused_message_stays_where_it_was_typed(sign_up: SignUp) -> None:
    page = sign_up()
    box = page.get_by_role("textbox", name="Message")
    too_long = "x" * 33_000
    box.fill(too_long)
    box.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_have_attribute("data-code", "message_too_large")
    expect(box).to_have_value(too_long)
    assert meter(page) == 0
    for _ in range(6):
        ends(say(page, "long 900 speed 0"), "done")
        if meter(page) > 5000:
            break
    box.fill("one more, with care")
    box.press("Enter")
    while not alert.count() and meter(page) < 6000:
        page.wait_for_timeout(300)
        box.fill("one more, with care")
        box.press("Enter")
    expect(alert).to_have_attribute("data-code", "quota_exceeded")
    expect(alert).to_contain_text(re.compile("Start a new chat|Try again on"))
    expect(box).to_have_value("one more, with care")
    page.reload()
    expect(box).to_have_value("one more, with care")


def test_conversations_are_renamed_deleted_and_brought_back(sign_up: SignUp) -> None:
    page = sign_up()
    ends(say(page, "table"), "done")
    row = page.get_by_role("navigation", name="Conversations").get_by_role("link")
    expect(row).not_to_have_text("New Conversation")
    row.hover()
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("textbox", name="New title").fill("About tables, in general")
    page.keyboard.press("Enter")
    expect(row).to_have_text("About tables, in general")
    row.hover()
    page.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(row).to_have_text("About tables, in general")
    expect(page.locator("article")).to_have_count(2)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator("article")).to_have_count(0)


def test_long_conversations_load_their_newest_page_first(sign_up: SignUp) -> None:
    page = sign_up()
    for _ in range(17):
        ends(say(page, "long 8 speed 0"), "done")
    page.reload()
    messages = page.locator("article")
    expect(messages).to_have_count(30)
    first = messages.first
    top = first.get_attribute("data-id")
    page.locator(".transcript").evaluate("box => box.scrollTo(0, 0)")
    expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()
    before = first.bounding_box()
    page.get_by_role("button", name="Load earlier").click()
    expect(messages).to_have_count(34)
    after = page.locator(f"article[data-id='{top}']").bounding_box()
    assert before
    assert after
    # What was being read stays where it was.
    assert abs(after["y"] - before["y"]) < 60
    expect(page.get_by_role("button", name="Load earlier")).to_have_count(0)
    page.get_by_role("button", name="Jump to latest").click()
    expect(messages.last).to_be_in_viewport()


def test_enter_sends_and_shift_enter_breaks(sign_up: SignUp) -> None:
    page = sign_up()
    box = page.get_by_role("textbox", name="Message")
    box.press_sequentially("one")
    box.press("Shift+Enter")
    box.press_sequentially("two")
    expect(box).to_have_value("one\ntwo")
    box.press("Enter")
    expect(page.locator("article[data-role=user]")).to_have_text("one\ntwo")


def test_signing_out_ends_it_everywhere(sign_up: SignUp, context: BrowserContext) -> None:
    page = sign_up()
    ends(say(page, "table"), "done")
    other = context.new_page()
    other.goto("/chat")
    box = other.get_by_role("textbox", name="Message")
    expect(box).to_be_visible()
    page.get_by_role("button", name="Account", exact=True).click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile(r"/$"))
    box.fill("still here?")
    box.press("Enter")
    expect(other.get_by_role("alert")).to_have_attribute("data-code", "unauthenticated")
    expect(box).to_have_value("still here?")
    other.goto("/dashboard")
    other.wait_for_url("**/login?redirectTo=/dashboard")
    expect(other.get_by_role("meter")).to_have_count(0)


def test_a_wrong_password_is_said_and_the_address_stays(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/login?redirectTo=https://evil.example")
    page.get_by_role("textbox", name="Email").fill("nobody@example.com")
    page.get_by_role("textbox", name="Password").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_attribute("data-code", "invalid_credentials")
    expect(page.get_by_role("textbox", name="Email")).to_have_value("nobody@example.com")


def test_who_is_signed_in_has_no_business_at_the_sign_in(sign_up: SignUp) -> None:
    page = sign_up()
    page.goto("/login")
    page.wait_for_url("**/dashboard")
    expect(page.get_by_role("heading", name="Usage")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/login", "/signup", "/nowhere"])
@pytest.mark.parametrize("width", [360, 1280])
def test_public_pages_fit_and_obey_the_policy(
    context: BrowserContext, path: str, width: int
) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


class Held:
    """What the server says to a page that is loaded from now on, kept back while `holding`."""

    def __init__(self, page: Page) -> None:
        self.holding = False
        self.messages: list[Callable[[], None]] = []
        self._page = page
        page.route_web_socket(re.compile("/_event"), self._hold)

    def _hold(self, socket: WebSocketRoute) -> None:
        def pass_on(message: str | bytes) -> None:
            if self.holding:
                self.messages.append(lambda: socket.send(message))
            else:
                self.said(message)
                socket.send(message)

        socket.connect_to_server().on_message(pass_on)

    def said(self, message: str | bytes) -> None:
        """For a test that holds what follows a message."""

    def wait(self) -> None:
        """Until something is held."""
        while not self.messages:
            self._page.wait_for_timeout(50)

    def release(self) -> None:
        self.holding = False
        while self.messages:
            self.messages.pop(0)()


class HeldAfterTheFirst(Held):
    """The first tells what the tab's state was."""

    def said(self, message: str | bytes) -> None:
        self.holding = str(message).startswith(EVENT)


def test_a_page_that_is_loaded_anew_shows_nothing_of_the_conversation_before(
    sign_up: SignUp,
) -> None:
    page = sign_up()
    ends(say(page, "table"), "done")
    held = HeldAfterTheFirst(page)
    page.goto("/chat")
    held.wait()
    box = page.get_by_role("textbox", name="Message")
    expect(box).to_have_count(0)
    held.said = lambda message: None
    held.release()
    expect(box).to_be_visible()
    expect(page.locator("article")).to_have_count(0)


def test_what_is_sent_at_once_goes_to_the_conversation_of_the_address(sign_up: SignUp) -> None:
    page = sign_up()
    held = Held(page)
    page.reload()
    ends(say(page, "table"), "done")
    before = page.url
    held.holding = True
    page.get_by_role("navigation", name="Conversations").get_by_text("New chat").click()
    held.wait()
    box = page.get_by_role("textbox", name="Message")
    box.fill("long 8 speed 0")
    box.press("Enter")
    held.release()
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    assert page.url != before
    replies = page.locator("article[data-role=assistant]")
    expect(replies).to_have_count(1)
    ends(replies, "done")
    is_as_stored(page, replies)
    page.goto(before)
    expect(replies).to_have_count(1)
    expect(replies.get_by_role("table")).to_be_visible()


def test_the_chosen_model_is_asked_before_the_server_has_heard_of_the_choice(
    sign_up: SignUp, execute: Execute
) -> None:
    execute(EVERYBODYS)
    page = sign_up()
    held = Held(page)
    page.reload()
    picker = page.get_by_role("combobox", name="Model")
    box = page.get_by_role("textbox", name="Message")
    expect(picker).to_be_visible()
    former, chosen = "demo", "demo-large"
    expect(picker).to_have_value(former)
    expect(picker.get_by_role("option", name="Demo large")).to_be_enabled()
    held.holding = True
    picker.select_option(chosen)
    expect(picker).to_have_value(chosen)
    box.fill("long 8 speed 0")
    box.press("Enter")
    held.wait()
    held.release()
    ends(page.locator("article[data-role=assistant]"), "done")
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    expect(picker).to_have_value(chosen)
    # It is the conversation's, not only what the page shows.
    page.reload()
    expect(picker).to_have_value(chosen)

    # Of two choices the later counts, whatever the server says of the earlier meanwhile.
    held.holding = True
    picker.select_option(former)
    picker.select_option(chosen)
    held.wait()
    held.release()
    expect(picker).to_have_value(chosen)


def test_a_draft_stays_in_the_conversation_it_was_typed_in(sign_up: SignUp) -> None:
    page = sign_up()
    ends(say(page, "table"), "done")
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    listed = page.get_by_role("navigation", name="Conversations")
    box = page.get_by_role("textbox", name="Message")
    box.fill("for the table")
    listed.get_by_text("New chat").click()
    expect(box).to_have_value("")
    box.fill("for another one")
    listed.get_by_role("link").first.click()
    expect(box).to_have_value("for the table")
    listed.get_by_text("New chat").click()
    expect(box).to_have_value("for another one")
