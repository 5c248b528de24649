"""What people expect of any chat without thinking of it: drafts, keys, input methods, pasting, dates.
In a real Chromium, as a desktop and as a phone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.ui.conftest import Execute, SignUp, signed_up
from tests.ui.pages import ends, say

RUNNING = "long 2000 speed 60"
ADDRESS = re.compile(r"/chat/[0-9a-f-]{36}$")
LIMIT = 32_000

pytestmark = pytest.mark.timeout(400)


def box_of(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message")


def listed(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("link")


def new_chat(page: Page) -> None:
    page.get_by_role("button", name="New chat").click()
    expect(page).to_have_url(re.compile(r"/chat$"))


def asked(page: Page) -> Locator:
    return page.locator("article[data-role=user]")


# Drafts -------------------------------------------------------------------------------------------


def test_the_draft_of_a_new_chat_survives_visits_and_sends_elsewhere(sign_up: SignUp) -> None:
    page = sign_up()
    ends(say(page, "long 8 speed 0"), "done")
    expect(page).to_have_url(ADDRESS)
    box = box_of(page)
    new_chat(page)
    box.fill("a draft of something new")
    listed(page).first.click()
    expect(box).to_have_value("")
    expect(page.locator("article[data-role=assistant]")).to_have_count(1)
    ends(say(page, "long 8 speed 0"), "done")
    new_chat(page)
    expect(box).to_have_value("a draft of something new")
    page.reload()
    expect(box).to_have_value("a draft of something new")
    box.press("Enter")
    expect(page).to_have_url(ADDRESS)
    expect(box).to_have_value("")
    new_chat(page)
    expect(box).to_have_value("")


def test_a_draft_survives_what_other_tabs_type_and_send(
    sign_up: SignUp, context: BrowserContext
) -> None:
    page = sign_up()
    box_of(page).fill("my draft")
    other = context.new_page()
    other.goto("/chat")
    # A tab that is opened later has it, too.
    expect(box_of(other)).to_have_value("my draft")
    box_of(other).fill("something else")
    ends(say(other, "long 8 speed 0"), "done")
    new_chat(other)
    expect(box_of(other)).to_have_value("my draft")
    expect(box_of(page)).to_have_value("my draft")
    page.reload()
    expect(box_of(page)).to_have_value("my draft")
    third = context.new_page()
    third.goto("/chat")
    expect(box_of(third)).to_have_value("my draft")


def test_a_draft_that_another_tab_has_sent_is_gone(
    sign_up: SignUp, context: BrowserContext
) -> None:
    page = sign_up()
    box_of(page).fill("long 8 speed 0")
    other = context.new_page()
    other.goto("/chat")
    expect(box_of(other)).to_have_value("long 8 speed 0")
    box_of(other).press("Enter")
    expect(other).to_have_url(ADDRESS)
    expect(box_of(page)).to_have_value("")
    page.reload()
    expect(box_of(page)).to_have_value("")


def test_a_draft_survives_where_nothing_can_be_stored(sign_up: SignUp) -> None:
    page = sign_up()
    ends(say(page, "long 8 speed 0"), "done")
    new_chat(page)
    page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"
    )
    box_of(page).fill("kept in the page")
    listed(page).first.click()
    expect(box_of(page)).to_have_value("")
    new_chat(page)
    expect(box_of(page)).to_have_value("kept in the page")


# Keys and input methods ---------------------------------------------------------------------------


def test_enter_on_a_phone_breaks_the_line_and_the_button_sends(phone: Page) -> None:
    box = box_of(phone)
    expect(box).to_have_attribute("enterkeyhint", "enter")
    box.press_sequentially("one")
    box.press("Enter")
    box.press_sequentially("two")
    expect(box).to_have_value("one\ntwo")
    expect(asked(phone)).to_have_count(0)
    phone.get_by_role("button", name="Send").tap()
    expect(asked(phone)).to_have_text("one\ntwo")


def test_a_keyboard_at_a_tablet_sends_with_control(phone: Page) -> None:
    box = box_of(phone)
    box.fill("long 8 speed 0")
    box.press("Control+Enter")
    expect(asked(phone)).to_have_text("long 8 speed 0")


def compose(page: Page, text: str) -> None:
    session = page.context.new_cdp_session(page)
    end = len(text)
    session.send(
        "Input.imeSetComposition", {"text": text, "selectionStart": end, "selectionEnd": end}
    )


def commit(page: Page, text: str) -> None:
    page.context.new_cdp_session(page).send("Input.insertText", {"text": text})


def input_method_key(page: Page, key: str) -> None:
    """A key that the input method takes: all that a page gets of it has the code 229."""
    session = page.context.new_cdp_session(page)
    for kind in ("rawKeyDown", "keyUp"):
        session.send(
            "Input.dispatchKeyEvent", {"type": kind, "key": key, "windowsVirtualKeyCode": 229}
        )


def enter_in_composition(page: Page) -> None:
    compose(page, "にほん")
    input_method_key(page, "Enter")
    commit(page, "日本")


def enter_as_in_safari(page: Page) -> None:
    """The composition ends before the key is reported."""
    compose(page, "にほん")
    commit(page, "日本")
    input_method_key(page, "Enter")


ORDERS = [enter_in_composition, enter_as_in_safari]


@pytest.mark.parametrize("choose", ORDERS)
def test_choosing_a_candidate_sends_nothing(
    sign_up: SignUp, choose: Callable[[Page], None]
) -> None:
    page = sign_up()
    box = box_of(page)
    box.focus()
    choose(page)
    expect(box).to_have_value("日本")
    box.press("Enter")
    # Had one of the two been sent before, this would be a second message.
    expect(asked(page)).to_have_text(["日本"])
    expect(box).to_have_value("")


@pytest.mark.parametrize("choose", ORDERS)
def test_choosing_a_candidate_ends_no_rename(
    sign_up: SignUp, choose: Callable[[Page], None]
) -> None:
    page = sign_up()
    ends(say(page, "long 8 speed 0"), "done")
    row = listed(page)
    expect(row).not_to_have_text("New Conversation")
    before = row.text_content() or ""
    row.focus()
    row.press("F2")
    title = page.get_by_role("textbox", name="New title")
    expect(title).to_be_focused()
    choose(page)
    input_method_key(page, "Escape")
    expect(title).to_have_value("日本")
    title.press("Escape")
    expect(row).to_have_text(before)
    row.press("F2")
    title.fill("日本")
    title.press("Enter")
    expect(row).to_have_text("日本")


def test_enter_while_a_reply_runs_says_why_nothing_is_sent(sign_up: SignUp) -> None:
    page = sign_up()
    reply = say(page, RUNNING)
    box = box_of(page)
    box.fill("next")
    box.press("Enter")
    note = page.get_by_role("status").filter(has_text="Not sent")
    expect(note).to_contain_text("Stop")
    expect(box).to_have_value("next")
    page.get_by_role("button", name="Stop").click()
    ends(reply, "stopped")
    expect(note).to_have_count(0)
    box.press("Enter")
    expect(asked(page)).to_have_text([RUNNING, "next"])


def test_a_reply_that_runs_elsewhere_holds_up_no_new_chat(sign_up: SignUp) -> None:
    page = sign_up()
    say(page, RUNNING)
    expect(page).to_have_url(ADDRESS)
    new_chat(page)
    expect(asked(page)).to_have_count(0)
    ends(say(page, "long 8 speed 0"), "done")
    expect(asked(page)).to_have_text(["long 8 speed 0"])


# Length -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [LIMIT + 1, 1_200_000, 3_000_000])
def test_a_text_too_long_to_send_is_reported_before_it_is_sent(sign_up: SignUp, size: int) -> None:
    page = sign_up()
    sent: list[str | bytes] = []

    def note(frame: str | bytes) -> None:
        sent.append(frame)

    page.on("websocket", lambda socket: socket.on("framesent", note))
    page.reload()
    box = box_of(page)
    box.focus()
    page.context.new_cdp_session(page).send("Input.insertText", {"text": "x" * size})
    alert = page.get_by_role("alert")
    expect(alert).to_have_attribute("data-code", "message_too_large")
    expect(alert).to_contain_text("32,000")
    expect(alert).to_contain_text(f"{size - LIMIT:,} too long")
    expect(page.get_by_role("button", name="Send")).to_have_attribute("aria-disabled", "true")
    box.press("Enter")
    expect(asked(page)).to_have_count(0)
    assert max(len(frame) for frame in sent) < LIMIT
    box.evaluate("(box, limit) => box.setSelectionRange(0, box.value.length - limit)", LIMIT)
    box.press("Delete")
    expect(alert).to_have_count(0)
    assert box.evaluate("box => box.value.length") == LIMIT
    expect(page.get_by_role("button", name="Send")).to_have_attribute("aria-disabled", "false")


def test_characters_are_counted_as_people_count_them(sign_up: SignUp) -> None:
    page = sign_up()
    box_of(page).fill("🦊" * LIMIT)
    expect(page.get_by_role("button", name="Send")).to_have_attribute("aria-disabled", "false")
    expect(page.get_by_role("alert")).to_have_count(0)
    box_of(page).fill("🦊" * LIMIT + "x")
    expect(page.get_by_role("alert")).to_contain_text("1 too long")


# Days ---------------------------------------------------------------------------------------------

NEW_YORK = "America/New_York"
# Clocks go back on November 1 and forward on March 8: days of 25 and 23 hours.
CALENDAR = [
    ("2026-11-02T12:00-05:00", "2026-11-01T00:30-04:00", "Yesterday"),
    ("2026-11-02T12:00-05:00", "2026-10-31T23:30-04:00", "Previous 7 days"),
    ("2026-03-09T12:00-04:00", "2026-03-08T00:30-05:00", "Yesterday"),
    ("2026-03-09T12:00-04:00", "2026-03-07T23:30-05:00", "Previous 7 days"),
    ("2026-03-09T12:00-04:00", "2026-03-02T00:30-05:00", "Previous 7 days"),
    ("2026-03-09T12:00-04:00", "2026-03-01T23:30-05:00", "Older"),
    ("2026-03-09T12:00-04:00", "2026-03-09T00:00-04:00", "Today"),
]
# The page's clock runs from another moment on.
SHIFTED_CLOCK = """{
  const RealDate = Date;
  const shift = %d - RealDate.now();
  globalThis.Date = class extends RealDate {
    constructor(...values) {
      if (values.length) super(...values);
      else super(RealDate.now() + shift);
    }
    static now() {
      return RealDate.now() + shift;
    }
  };
}"""


def test_yesterday_is_the_day_before(chromium: Browser, url: str, execute: Execute) -> None:
    context = chromium.new_context(base_url=url, timezone_id=NEW_YORK)
    page = signed_up(context)
    ends(say(page, "long 8 speed 0"), "done")
    expect(listed(page)).not_to_have_text("New Conversation")
    conversation = page.url.rsplit("/", 1)[-1]
    for now, at, expected in CALENDAR:
        execute(
            "update conversations set last_message_at = %s where id = %s",
            datetime.fromisoformat(at),
            conversation,
        )
        later = context.new_page()
        later.add_init_script(SHIFTED_CLOCK % (datetime.fromisoformat(now).timestamp() * 1000))
        later.goto("/chat")
        group = later.get_by_role("navigation", name="Conversations").get_by_role("heading")
        expect(group).to_have_text([expected])
        later.close()
    context.close()


# Replies that are lacking ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content"),
    [
        ("failed", ""),
        ("interrupted", "the begin"),
        ("stopped", "the begin"),
        ("done", ""),
        ("done", " \n\u200b"),
    ],
)
def test_whatever_a_reply_lacks_it_can_be_retried_once_a_click(
    sign_up: SignUp, execute: Execute, status: str, content: str
) -> None:
    page = sign_up()
    ends(say(page, "long 8 speed 0"), "done")
    retry = page.get_by_role("button", name="Retry")
    expect(retry).to_have_count(0)
    conversation = page.url.rsplit("/", 1)[-1]
    execute(
        "update messages set status = %s, content = %s, prompt_tokens = 0, completion_tokens = 0,"
        " cost_usd = 0 where conversation_id = %s and role = 'assistant'",
        status,
        content,
        conversation,
    )
    page.reload()
    reply = page.locator("article[data-role=assistant]")
    expect(reply).to_have_attribute("data-status", status)
    expect(reply.locator(".facts")).not_to_contain_text("tokens")
    expect(reply).not_to_contain_text("$")
    expect(reply.locator(".message-note")).not_to_be_empty()
    retry.dblclick()
    expect(reply).to_have_count(2)
    ends(reply.last, "done")
    expect(retry).to_have_count(0)
    page.reload()
    expect(reply).to_have_count(2)
