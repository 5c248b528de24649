"""What a reader sees of a reply in a real browser: how steadily the text grows, how late it is, and how soon a
key that is typed meanwhile shows.

Needs the browser and the packages that the tests use.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Generator, Sequence
from itertools import pairwise
from pathlib import Path

from playwright.sync_api import Page, expect

from benchmarks.browser import WAIT_MS, chat_page, chromium, send, type_keys, wait_until_done
from benchmarks.instance import instance
from benchmarks.levels import SPEED

SECONDS = 10
SLOW_SPEED = 10
# Its 400th line comes while the last keys are typed.
CODE = "code 600 speed 500"
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
Frames = Sequence[tuple[float, str]]


def measure() -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as folder,
        instance(Path(folder), workers=1, MAX_REPLY_TOKENS="8192") as running,
        chromium() as browser,
    ):
        page = chat_page(browser, running.url)
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


def _watched(page: Page, text: str) -> Frames:
    """The frames of the browser while it shows a reply."""
    before = page.locator("article[data-role=assistant]").count()
    page.evaluate(WATCH, before)
    send(page, text)
    wait_until_done(page, before + 1)
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
    send(page, CODE)
    expect(page.locator("article[data-status=streaming] pre")).to_be_visible(timeout=WAIT_MS)
    keys = type_keys(page)
    assert page.locator("article[data-role=assistant]").count() == before + 1
    return keys
