"""A Chromium with an account of the product, for benchmarks of what a person sees.

Needs the browser and the packages that the tests use.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from uuid import uuid4

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from devstack.chromium import chromium_path

WAIT_MS = 120_000
VIEWPORT: ViewportSize = {"width": 1280, "height": 800}
# Typed into the message box, one key at a time.
KEYS = 60
# Milliseconds from each key to the frame that shows it.
TIME_KEYS = """() => {
  window.key_times = [];
  addEventListener("keydown", ({ timeStamp }) => {
    requestAnimationFrame(() => setTimeout(() => window.key_times.push(performance.now() - timeStamp)));
  }, true);
}"""


@contextmanager
def chromium() -> Generator[Browser]:
    path, arguments = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def chat_page(browser: Browser, url: str) -> Page:
    """The chat page of a new account, in a new profile."""
    page = browser.new_page(base_url=url, viewport=VIEWPORT)
    form: dict[str, str | float | bool] = {
        "full_name": "Benchmark",
        "email": f"benchmark-{uuid4().hex[:12]}@example.com",
        "password": "a password for a measurement",
    }
    headers = {"Accept": "application/json", "Origin": url}
    answer = page.request.post("/api/session/sign-up", form=form, headers=headers)
    expect(answer).to_be_ok()
    page.goto("/chat")
    expect(page.get_by_role("combobox", name="Model")).to_be_visible(timeout=WAIT_MS)
    return page


def send(page: Page, text: str) -> None:
    box = page.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")


def wait_until_done(page: Page, replies: int) -> None:
    done = page.locator('article[data-role=assistant][data-status="done"]')
    expect(done).to_have_count(replies, timeout=WAIT_MS)


def type_keys(page: Page) -> list[float]:
    """Of each key, milliseconds to the frame that shows it; while a reply streams, and until it ends."""
    page.evaluate(TIME_KEYS)
    box = page.get_by_role("textbox", name="Message")
    for number in range(KEYS):
        box.press("abcdefghij"[number % 10])
        page.wait_for_timeout(100)
    expect(page.locator("article[data-status=streaming]")).to_have_count(0, timeout=WAIT_MS)
    return page.evaluate("() => window.key_times")
