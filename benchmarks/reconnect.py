"""How long after a broken connection a page shows more of a running reply, in Chromium.

A network stands between the browser and the product. Counted are the milliseconds from the moment
at which a new connection is possible until new text has arrived over one.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.instance import instance
from benchmarks.network import Network
from devstack.chromium import chromium_path

# Longer than the breaks of many rounds, at a steady pace.
REPLY = "long 8000 speed 40"
AWAY_MS = {"refused_1s": 1000, "refused_4s": 4000}
LIMIT_MS = 60_000
# Of the last reply, in characters.
LENGTH = (
    "() => [...document.querySelectorAll('article[data-role=assistant]')].at(-1).textContent.length"
)
IS_LONGER = f"(length) => ({LENGTH})() > length"


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Of `rounds` breaks of each kind; the front end must have been built."""
    path, arguments = chromium_path()
    with (
        tempfile.TemporaryDirectory() as folder,
        Network([]) as network,
        instance(
            Path(folder), workers=1, url=network.url, MAX_REPLY_TOKENS="8192", APP_ENV="development"
        ) as served,
        sync_playwright() as playwright,
    ):
        network.targets = list(served.ports)
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            return measured(browser, network, rounds)
        finally:
            browser.close()


def measured(browser: Browser, network: Network, rounds: int) -> dict[str, dict[str, float]]:
    """Of an instance behind `network`; milliseconds by kind of break."""
    with browser.new_context(base_url=network.url) as context:
        signed_up = context.request.post(
            "/api/session/sign-up",
            headers={"Accept": "application/json"},
            form={
                "full_name": "",
                "email": f"{uuid4().hex}@example.com",
                "password": "a password for a measurement",
            },
        )
        assert signed_up.ok
        page = context.new_page()
        page.goto("/chat")
        return {kind: _measured(page, network, kind, rounds) for kind in _BREAKS}


def _measured(page: Page, network: Network, kind: str, rounds: int) -> dict[str, float]:
    page.get_by_role("textbox", name="Message").fill(REPLY)
    page.get_by_role("textbox", name="Message").press("Enter")
    page.locator("article[data-status=streaming]").wait_for(timeout=LIMIT_MS)
    page.wait_for_function(IS_LONGER, arg=200, timeout=LIMIT_MS)
    found = sorted(_BREAKS[kind](page, network) for _ in range(rounds))
    page.get_by_role("button", name="Stop").click()
    page.locator("article[data-status=streaming]").wait_for(state="detached", timeout=LIMIT_MS)
    return {"p50_ms": round(statistics.median(found), 1), "max_ms": round(found[-1], 1)}


def _cut(page: Page, network: Network) -> float:
    return _until_it_grows(page, network.cut)


def _refused(kind: str) -> Callable[[Page, Network], float]:
    def run(page: Page, network: Network) -> float:
        network.refuse()
        page.wait_for_timeout(AWAY_MS[kind])
        return _until_it_grows(page, network.restore)

    return run


def _half_open(page: Page, network: Network) -> float:
    """The connection is dead but not closed when the browser fires its `online` event."""
    network.forget()
    elapsed = _until_it_grows(
        page, lambda: page.evaluate("window.dispatchEvent(new Event('online'))")
    )
    network.restore()
    return elapsed


def _until_it_grows(page: Page, reconnect: Callable[[], object]) -> float:
    begun = time.perf_counter()
    with page.expect_websocket(timeout=LIMIT_MS):
        reconnect()
    length: int = page.evaluate(LENGTH)
    page.wait_for_function(IS_LONGER, arg=length, timeout=LIMIT_MS)
    return (time.perf_counter() - begun) * 1000


_BREAKS: Mapping[str, Callable[[Page, Network], float]] = {
    "cut": _cut,
    **{kind: _refused(kind) for kind in AWAY_MS},
    "half_open": _half_open,
}
