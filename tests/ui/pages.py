"""What a person does on the chat page, and what they see of it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def say(page: Page, text: str) -> Locator:
    """Send a message; the reply to it."""
    replies = page.locator("article[data-role=assistant]")
    before = replies.count()
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("textbox", name="Message").press("Enter")
    expect(replies).to_have_count(before + 1, timeout=30_000)
    return replies.last


def refused(page: Page, text: str, code: str) -> Locator:
    """Send a message that is refused: the alert says why, and the text stays. The alert."""
    box = page.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_have_attribute("data-code", code)
    expect(box).to_have_value(text)
    expect(page.get_by_role("button", name="Send")).to_have_attribute("aria-disabled", "false")
    return alert


def answered(page: Page, text: str) -> Locator:
    """Send a message that is answered to the end; the reply to it."""
    reply = say(page, text)
    ends(reply, "done")
    expect(page.get_by_role("textbox", name="Message")).to_have_value("")
    return reply


def ends(reply: Locator, status: str) -> None:
    expect(reply).to_have_attribute("data-status", status, timeout=60_000)


def is_as_stored(page: Page, reply: Locator) -> None:
    shown = reply.text_content() or ""
    page.reload()
    ends(reply, "done")
    expect(reply).to_have_text(shown)


def meter(page: Page) -> int:
    value = page.get_by_role("meter", name="Tokens used").get_attribute("aria-valuenow")
    return int(value or -1)
