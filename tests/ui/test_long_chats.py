"""Many conversations and long ones: what is on the wire and in the page is bounded, and nothing ends
early or jumps. In a real Chromium, on rows written by hand.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.services import IN_TIME
from tests.ui.conftest import Execute, SignUp
from tests.ui.pages import ends, say

MESSAGES = 930
CONVERSATIONS = 1130
LISTED = 50
# Elements of the transcript that a window of it may have; all 930 messages have 16,000.
MOST_ELEMENTS = 2500
MARKED = "**bold** and `code` and a [link](https://example.com)"

pytestmark = pytest.mark.timeout(600)


class Wire:
    """Characters that pages have received over their sockets."""

    def __init__(self, page: Page) -> None:
        self.received = 0
        self.text = ""
        page.on("websocket", lambda socket: socket.on("framereceived", self._add))

    def _add(self, frame: str | bytes) -> None:
        self.received += len(frame)
        self.text += str(frame)

    def clear(self) -> None:
        self.received, self.text = 0, ""


def a_conversation(page: Page) -> str:
    ends(say(page, "long 8 speed 0"), "done")
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    expect(rows(page)).not_to_have_text("New Conversation")
    return page.url.rsplit("/", 1)[-1]


def rows(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("link")


def lengthen(execute: Execute, conversation: str) -> None:
    """Questions and replies before those that are there; `MESSAGES` with them."""
    execute(
        """
        insert into messages (conversation_id, user_id, role, content, model, created_at)
        select c.id, c.user_id, case n %% 2 when 1 then 'user' else 'assistant' end,
          case n %% 2 when 1 then 'question ' || n
          else 'reply ' || n || E'\\n\\n- ' || %s || E'\\n- ' || %s || repeat(E'\\n\\nmore', n %% 7) end,
          'demo', c.created_at - make_interval(secs => 10000 - n)
        from conversations c, generate_series(1, %s) n where c.id = %s
        """,
        MARKED,
        MARKED,
        MESSAGES - 2,
        conversation,
    )
    execute(IN_TIME, conversation)


# Shown messages on the way from where the view is to the top, and the most elements on it.
CLIMB = """async () => {
  const box = document.querySelector(".transcript");
  const seen = new Set();
  let most = 0;
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  for (let still = 0; still < 5; ) {
    const { top, bottom } = box.getBoundingClientRect();
    for (const article of box.querySelectorAll("article")) {
      const rect = article.getBoundingClientRect();
      if (rect.bottom > top && rect.top < bottom) seen.add(article.dataset.id);
    }
    most = Math.max(most, box.querySelectorAll("*").length);
    const before = box.scrollTop;
    box.scrollTop -= box.clientHeight * 0.7;
    await frame();
    still = box.scrollTop === before ? still + 1 : 0;
  }
  return [seen.size, most];
}"""


def elements(page: Page) -> int:
    return page.locator(".transcript *").count()


def to_the_top(page: Page) -> tuple[str, float]:
    """Scroll there; the id and the place of the first message in view."""
    expect(page.locator(".transcript article").first).to_be_attached()
    # What was never rendered has an estimated height, so the first try may end a little below.
    found = page.evaluate(
        """async () => {
          const box = document.querySelector(".transcript");
          const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
          for (let still = 0; still < 3; still = box.scrollTop ? 0 : still + 1) {
            box.scrollTop = 0;
            await frame();
          }
          const article = box.querySelector("article");
          return [article.dataset.id, article.getBoundingClientRect().top];
        }"""
    )
    return tuple(found)


def load_earlier(page: Page) -> tuple[str, float]:
    """Go to the top and load a page there; the first message that was in view, and where."""
    found, top = to_the_top(page)
    oldest = page.locator("article").first.get_attribute("data-id")
    page.get_by_role("button", name="Load earlier").click()
    page.wait_for_function(
        "id => document.querySelector('.transcript article').dataset.id !== id", arg=oldest
    )
    return found, top


def test_a_long_conversation_is_read_to_its_beginning_in_a_bounded_page(
    sign_up: SignUp, execute: Execute
) -> None:
    page = sign_up()
    lengthen(execute, a_conversation(page))
    wire = Wire(page)
    page.reload()
    transcript = page.locator(".transcript")
    expect(page.locator("article")).to_have_count(30)
    older = page.get_by_role("button", name="Load earlier")
    loaded, sent = 30, wire.received
    while loaded < MESSAGES:
        wire.clear()
        found, top = load_earlier(page)
        # What was being read stays where it was.
        now = page.locator(f"article[data-id='{found}']").bounding_box()
        assert now
        assert abs(now["y"] - top) < 2
        assert elements(page) < MOST_ELEMENTS
        # Each page is sent once, and nothing else.
        loaded += 60
        assert wire.received < 60 * 900
        sent += wire.received
    expect(older).to_have_count(0)
    assert sent < MESSAGES * 900
    page.get_by_role("button", name="Jump to latest").click()
    expect(page.locator("article").last).to_be_in_viewport()
    expect(page.locator("article").last).to_contain_text("so no ok")
    transcript.evaluate("box => { box.scrollTop -= 30; }")
    seen, most = page.evaluate(CLIMB)
    assert seen == MESSAGES
    assert most < MOST_ELEMENTS
    expect(page.locator("article").first).to_have_text(re.compile("question 1$"))
    # To the end by the scroll bar, over messages that aren't rendered.
    transcript.evaluate("box => { box.scrollTop = box.scrollHeight / 2; }")
    page.wait_for_function(
        """() => {
          const box = document.querySelector(".transcript").getBoundingClientRect();
          return [...document.querySelectorAll(".transcript article")].some((article) => {
            const rect = article.getBoundingClientRect();
            return rect.top < box.bottom && rect.bottom > box.top;
          });
        }"""
    )
    transcript.evaluate("box => { box.scrollTop = box.scrollHeight; }")
    expect(page.get_by_role("button", name="Jump to latest")).to_have_count(0)
    expect(page.locator("article").last).to_be_in_viewport()
    page.get_by_role("textbox", name="Message").fill("one more")
    page.get_by_role("textbox", name="Message").press("Enter")
    expect(page.locator("article[data-role=user]").last).to_have_text("one more")
    ends(page.locator("article").last, "done")
    assert elements(page) < MOST_ELEMENTS


def test_what_is_selected_stays_while_the_view_moves(sign_up: SignUp, execute: Execute) -> None:
    page = sign_up()
    lengthen(execute, a_conversation(page))
    page.reload()
    transcript = page.locator(".transcript")
    load_earlier(page)
    page.get_by_role("button", name="Jump to latest").click()
    page.evaluate(
        """() => {
          const last = [...document.querySelectorAll(".transcript article .prose")].at(-1);
          getSelection().selectAllChildren(last);
        }"""
    )
    selected = page.evaluate("() => getSelection().toString()")
    assert "so no ok" in selected
    transcript.evaluate("box => { box.scrollTop -= 200; }")
    page.evaluate(CLIMB)
    assert page.evaluate("() => getSelection().toString()") == selected


def test_coming_back_from_another_page_leaves_no_hole(sign_up: SignUp, execute: Execute) -> None:
    page = sign_up()
    lengthen(execute, a_conversation(page))
    address = page.url
    page.reload()
    for _ in range(2):
        load_earlier(page)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator("article")).to_have_count(0)
    page.go_back()
    expect(page).to_have_url(address)
    messages = page.locator("article")
    expect(messages).to_have_count(30)
    expect(messages.last).to_contain_text("so no ok")
    expect(messages.first).to_contain_text(f"question {MESSAGES - 29}")


def test_the_list_goes_on_beyond_a_thousand_and_sends_only_what_is_new(
    sign_up: SignUp, execute: Execute
) -> None:
    page = sign_up()
    conversation = a_conversation(page)
    execute(
        "insert into conversations (user_id, model, title, last_message_at)"
        " select user_id, 'demo', 'number ' || n, last_message_at - make_interval(mins => n)"
        " from conversations, generate_series(1, %s) n where id = %s",
        CONVERSATIONS - 1,
        conversation,
    )
    wire = Wire(page)
    page.reload()
    expect(rows(page)).to_have_count(LISTED)
    older = page.get_by_role("button", name="Show older conversations")
    shown = LISTED
    while shown < CONVERSATIONS:
        wire.clear()
        older.click()
        before, shown = shown, min(shown + LISTED, CONVERSATIONS)
        expect(rows(page)).to_have_count(shown)
        assert f"number {before}" in wire.text
        assert f'"number {before - 1}"' not in wire.text
        assert wire.received < LISTED * 180
    expect(older).to_have_count(0)
    assert rows(page).all_text_contents()[1:] == [f"number {n}" for n in range(1, CONVERSATIONS)]
    # What happens to a line far below is seen, and costs a line.
    wire.clear()
    rows(page).nth(1000).focus()
    rows(page).nth(1000).press("F2")
    page.get_by_role("textbox", name="New title").fill("renamed")
    page.get_by_role("textbox", name="New title").press("Enter")
    expect(rows(page).nth(1000)).to_have_text("renamed")
    page.get_by_role("button", name="Delete renamed").click()
    expect(rows(page)).to_have_count(CONVERSATIONS - 1)
    page.get_by_role("button", name="Undo").click()
    expect(rows(page)).to_have_count(CONVERSATIONS)
    expect(rows(page).nth(1000)).to_have_text("renamed")
    expect(page.locator("article")).to_have_count(0)
    ends(say(page, "long 8 speed 0"), "done")
    # It is the newest now.
    expect(rows(page).first).to_have_text("renamed")
    # A visit elsewhere keeps what was opened up.
    page.locator("a[href='/dashboard']").first.evaluate("link => link.click()")
    expect(page.get_by_role("heading", name="Usage")).to_be_visible()
    page.go_back()
    expect(rows(page)).to_have_count(CONVERSATIONS)
