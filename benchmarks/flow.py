"""What a reader sees of a reply in a real browser: how steadily the text grows, how late it is, and how soon a
key that is typed meanwhile shows.

Needs the browser and the packages that the tests use.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.instance import instance
from benchmarks.levels import SPEED
from devstack.chromium import chromium_path

SECONDS = 10
SLOW_SPEED = 10
# Its 400th line comes while the last keys are typed.
CODE = "code 600 speed 500"
KEYS = 60
WAIT_MS = 120_000
# Of each animation frame: when it was (ms since the epoch), and the text of the reply behind so many.
WATCH = """(before) => {
  window.frames_seen = [];
  const look = (now) => {
    const reply = document.querySelectorAll("article[data-role=assistant]")[before];
    const text = reply?.querySelector(".prose")?.textContent ?? "";
    window.frames_seen.push([performance.timeOrigin + now, text]);
    window.frame = requestAnimationFrame(look);
  };
  window.frame = requestAnimationFrame(look);
}"""
WATCHED = "() => { cancelAnimationFrame(window.frame); return window.frames_seen; }"
# Of each key: milliseconds until the frame that shows it has been drawn.
TIME_KEYS = """() => {
  window.key_times = [];
  addEventListener("keydown", ({ timeStamp }) => {
    requestAnimationFrame(() => setTimeout(() => window.key_times.push(performance.now() - timeStamp)));
  }, true);
}"""
Frames = Sequence[tuple[float, str]]


def measure() -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as folder,
        instance(Path(folder), workers=1, MAX_REPLY_TOKENS="8192") as running,
        _page(running.url) as page,
    ):
        steady = _watched(page, f"long {SPEED * SECONDS} speed {SPEED}")
        slow = _watched(page, f"ticks {SLOW_SPEED * SECONDS} speed {SLOW_SPEED}")
        keys = _typed(page)
    grown = [at for (_, before), (at, after) in pairwise(steady) if len(after) > len(before)]
    took = (grown[-1] - grown[0]) / 1000
    pauses = [later - earlier for earlier, later in pairwise(grown)]
    lags = sorted(_lags(slow))
    return {
        "growths_per_second": round(len(grown) / took, 1),
        "longest_pause_ms": round(max(pauses), 1),
        "frames_per_second": round(sum(grown[0] <= at <= grown[-1] for at, _ in steady) / took, 1),
        "slow_p95_lag_ms": round(lags[int(len(lags) * 0.95)], 1),
        "slow_max_lag_ms": round(lags[-1], 1),
        "key_p95_ms": round(sorted(keys)[int(len(keys) * 0.95)], 1),
    }


@contextmanager
def _page(url: str) -> Generator[Page]:
    """The chat page of a new account."""
    path, arguments = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        page = browser.new_page(base_url=url, viewport={"width": 1280, "height": 800})
        form: dict[str, str | float | bool] = {
            "full_name": "Flow",
            "email": f"flow-{uuid4().hex[:12]}@example.com",
            "password": "a password for a measurement",
        }
        headers = {"Accept": "application/json", "Origin": url}
        answer = page.request.post("/api/session/sign-up", form=form, headers=headers)
        expect(answer).to_be_ok()
        page.goto("/chat")
        expect(page.get_by_role("combobox", name="Model")).to_be_visible(timeout=WAIT_MS)
        yield page
        browser.close()


def _send(page: Page, text: str) -> None:
    box = page.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")


def _until_done(page: Page, replies: int) -> None:
    done = page.locator('article[data-role=assistant][data-status="done"]')
    expect(done).to_have_count(replies, timeout=WAIT_MS)


def _watched(page: Page, text: str) -> Frames:
    """The frames of the browser while it shows a reply."""
    before = page.locator("article[data-role=assistant]").count()
    page.evaluate(WATCH, before)
    _send(page, text)
    _until_done(page, before + 1)
    return page.evaluate(WATCHED)


def _lags(frames: Frames) -> Generator[float]:
    """Of each token of `ticks`: milliseconds from the provider's clock to the frame that shows it."""
    offset = (time.time() - time.monotonic()) * 1000
    seen, width = 0, len(str(int(time.monotonic() * 1000)))
    for at, text in frames:
        # The last one may not be complete.
        stamps = [stamp for stamp in re.findall(r"\d+", text) if len(stamp) == width]
        for stamp in stamps[seen:]:
            yield at - (int(stamp) + offset)
        seen = max(seen, len(stamps))


def _typed(page: Page) -> list[float]:
    """Milliseconds from each key to the frame that shows it, while a long block of code streams."""
    before = page.locator("article[data-role=assistant]").count()
    _send(page, CODE)
    expect(page.locator("article[data-status=streaming] pre")).to_be_visible(timeout=WAIT_MS)
    page.evaluate(TIME_KEYS)
    box = page.get_by_role("textbox", name="Message")
    for number in range(KEYS):
        box.press("abcdefghij"[number % 10])
        page.wait_for_timeout(100)
    expect(page.locator("article[data-status=streaming]")).to_have_count(0, timeout=WAIT_MS)
    assert page.locator("article[data-role=assistant]").count() == before + 1
    return page.evaluate("() => window.key_times")
