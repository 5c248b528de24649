"""How soon pages are there in a real browser: painted when nothing is cached, usable, and changed.

Needs the browser and the packages that the tests use.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import psycopg
from playwright.sync_api import Browser, Page, StorageState, expect

from benchmarks.browser import (
    VIEWPORT,
    WAIT_MS,
    chat_page,
    chromium,
    send,
    type_keys,
    wait_until_done,
)
from benchmarks.instance import MODEL, instance

ROUNDS = 5
PAGES = ("/", "/login", "/chat")
# A cheap phone, as Lighthouse simulates it: bytes per second, and milliseconds per request.
SLOW_4G = {
    "offline": False,
    "latency": 562.5,
    "downloadThroughput": 1474.56 * 1024 / 8,
    "uploadThroughput": 675 * 1024 / 8,
}
SLOW_CPU = {"rate": 4}
SWITCHES = 10
SHORT, LONG = 30, 500
# Streams for as long as keys are typed.
CODE = "code 600 speed 60"
# When the page could first be typed into and sent from: milliseconds since it was asked for.
WATCH_COMPOSER = """
  const look = () => {
    if (document.querySelector(".composer select option")) window.composer_at = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
"""
PAINTED = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime"""
# Milliseconds from a click on a conversation to the frame that shows its last message.
OPEN = """([name, text]) => new Promise((resolve) => {
  const link = [...document.querySelectorAll("nav a")].find((each) => each.textContent.trim() === name);
  const begun = performance.now();
  link.click();
  const look = () => {
    const last = [...document.querySelectorAll(".transcript article")].at(-1);
    if (last?.textContent.includes(text)) setTimeout(() => resolve(performance.now() - begun));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""
# The moments of the frames on the way from the end of the transcript to its beginning.
SCROLL = """(step) => new Promise((resolve) => {
  const box = document.querySelector(".transcript");
  const frames = [];
  const move = (now) => {
    frames.push(now);
    if (box.scrollTop <= 0) return resolve(frames);
    box.scrollTop -= step;
    requestAnimationFrame(move);
  };
  requestAnimationFrame(move);
})"""
# Pixels a frame: 3,600 a second.
STEP = 60


def measure(rounds: int = ROUNDS) -> dict[str, object]:
    """Milliseconds; medians of `rounds`.

    Args:
        rounds: how often each page is loaded, each time by a new profile of the browser.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        instance(Path(folder), workers=1, MAX_REPLY_TOKENS="8192") as running,
        chromium() as browser,
    ):
        page = chat_page(browser, running.url)
        cookies = page.context.storage_state()
        cold = _cold(browser, running.url, cookies, rounds, slow=False)
        slow = _cold(browser, running.url, cookies, rounds, slow=True)
        _fill(running.stack.env["MIGRATION_DATABASE_URL"])
        page.reload()
        switches = [_opened(page, f"Short {n % 2}") for n in range(SWITCHES)]
        long = []
        for _ in range(rounds):
            long.append(_opened(page, "Long"))
            _opened(page, "Short 0")
        frames = _scrolled(page)
        keys = sorted(_typed(page))
    between = [later - earlier for earlier, later in pairwise(frames)]
    return {
        **{f"first_paint_ms {name}": at for name, at in cold.items() if name != "composer"},
        "composer_ms": cold["composer"],
        **{f"slow_first_paint_ms {name}": at for name, at in slow.items() if name != "composer"},
        "slow_composer_ms": slow["composer"],
        "switch_p50_ms": round(statistics.median(switches), 1),
        "switch_max_ms": round(max(switches), 1),
        "long_open_p50_ms": round(statistics.median(long), 1),
        "long_open_max_ms": round(max(long), 1),
        "scroll_frames_per_second": round(1000 * len(between) / sum(between), 1),
        "scroll_longest_frame_ms": round(max(between), 1),
        "key_p95_ms": round(keys[int(len(keys) * 0.95)], 1),
    }


def _cold(
    browser: Browser, url: str, cookies: StorageState, rounds: int, *, slow: bool
) -> dict[str, float]:
    """The first paint of each page, and when the composer of /chat is usable."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for address in PAGES:
            signed_in = cookies if address == "/chat" else None
            context = browser.new_context(base_url=url, viewport=VIEWPORT, storage_state=signed_in)
            page = context.new_page()
            if slow:
                session = context.new_cdp_session(page)
                session.send("Network.enable")
                session.send("Network.emulateNetworkConditions", SLOW_4G)
                session.send("Emulation.setCPUThrottlingRate", SLOW_CPU)
            page.add_init_script(WATCH_COMPOSER)
            page.goto(address)
            page.wait_for_function(PAINTED, timeout=WAIT_MS)
            found.setdefault(address, []).append(page.evaluate(PAINTED))
            if signed_in:
                page.wait_for_function("() => window.composer_at", timeout=WAIT_MS)
                found.setdefault("composer", []).append(page.evaluate("() => window.composer_at"))
            context.close()
    return {name: round(statistics.median(each), 1) for name, each in found.items()}


def _fill(url: str) -> None:
    """Conversations of the account that there is."""
    with psycopg.connect(url, autocommit=True) as database:
        for name, messages in (("Short 0", SHORT), ("Short 1", SHORT), ("Long", LONG)):
            database.execute(
                """
                with made as (
                  insert into conversations (user_id, title, model)
                  select id, %(name)s, %(model)s from profiles returning *
                )
                insert into messages (conversation_id, user_id, role, content, model, created_at)
                select id, user_id, case n %% 2 when 1 then 'user' else 'assistant' end,
                  case n %% 2 when 1 then 'Question ' || n
                  else format(%(reply)s, n) || case when n = %(messages)s then %(end)s else '' end end,
                  %(model)s, created_at - make_interval(secs => 10000 - n)
                from made, generate_series(1, %(messages)s) n
                """,
                {
                    "name": name,
                    "model": MODEL,
                    "messages": messages,
                    "reply": REPLY,
                    "end": f"\n\nEnd of {name}.",
                },
            )


REPLY = """Reply %1$s with **bold** words, `code`, and a [link](https://example.com).

- one thing
- another thing, which is longer

| name | number |
|---|---|
| one | 1 |
| two | 2 |

```python
def answer(number: int) -> int:
    return number * 2
```

And a last paragraph, as a reply has it, with two sentences. This is the second."""


def _opened(page: Page, name: str) -> float:
    link = page.get_by_role("navigation", name="Conversations").get_by_role("link", name=name)
    expect(link).to_be_visible(timeout=WAIT_MS)
    took: float = page.evaluate(OPEN, [name, f"End of {name}."])
    expect(link).to_have_attribute("aria-current", "page", timeout=WAIT_MS)
    return took


def _scrolled(page: Page) -> Sequence[float]:
    """The frames while the whole long conversation passes by, after its last page was loaded."""
    _opened(page, "Long")
    earlier = page.get_by_role("button", name="Load earlier")
    while earlier.count():
        page.evaluate("() => document.querySelector('.transcript').scrollTo(0, 0)")
        first = page.locator(".transcript article").first.get_attribute("data-id")
        earlier.click(timeout=WAIT_MS)
        page.wait_for_function(
            "(id) => document.querySelector('.transcript article')?.dataset.id !== id", arg=first
        )
        page.wait_for_timeout(300)
    page.get_by_role("button", name="Jump to latest").click()
    page.wait_for_timeout(500)
    return page.evaluate(SCROLL, STEP)


def _typed(page: Page) -> list[float]:
    page.goto("/chat")
    expect(page.get_by_role("combobox", name="Model")).to_be_visible(timeout=WAIT_MS)
    send(page, CODE)
    expect(page.locator("article[data-status=streaming] pre")).to_be_visible(timeout=WAIT_MS)
    keys = type_keys(page)
    wait_until_done(page, 1)
    return keys
