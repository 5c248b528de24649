"""What the page says and does while a part is away, and that it comes back by itself."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from benchmarks.instance import Instance
from benchmarks.network import Network
from devstack.stack import Stack
from tests.parts import Outage, outage
from tests.ui.conftest import browsing, serving, signed_up
from tests.ui.pages import ends, refused, say
from tests.ui.watching import seen, watch

pytestmark = [pytest.mark.timeout(200), pytest.mark.usefixtures("front_end")]
OUTAGES = pytest.mark.parametrize("kind", ["stopped", "paused"])


@pytest.fixture(scope="module", params=["memory", "redis"])
def served(
    request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Network, Instance]]:
    folder = tmp_path_factory.mktemp("outages")
    with serving(folder, stack, TAB_STATES=request.param) as made:
        yield made


@pytest.fixture
def browser_context(
    chromium: Browser, served: tuple[Network, Instance]
) -> Generator[BrowserContext]:
    with browsing(chromium, served[0].url) as context:
        yield context


@OUTAGES
def test_without_the_database_a_first_load_says_so_and_fills_by_itself(
    browser_context: BrowserContext, stack: Stack, kind: Outage
) -> None:
    page = signed_up(browser_context)
    ends(say(page, "long 8 speed 0"), "done")
    with outage(stack, "postgres", kind):
        page.reload()
        alert = page.get_by_role("alert")
        expect(alert).to_have_attribute("data-code", "unavailable", timeout=60_000)
    expect(page.locator("article")).to_have_count(2, timeout=60_000)
    expect(alert).to_have_count(0)


def test_without_redis_a_first_load_says_so_and_fills_by_itself(
    browser_context: BrowserContext, stack: Stack
) -> None:
    """Where tabs have their states in Redis, its event fails before any handler of ours."""
    page = signed_up(browser_context)
    ends(say(page, "long 8 speed 0"), "done")
    with outage(stack, "valkey", "stopped"):
        page.reload()
        # Long enough for the load to fail where it needs Redis.
        page.wait_for_timeout(4000)
    expect(page.locator("article")).to_have_count(2, timeout=60_000)
    expect(page.get_by_role("alert")).to_have_count(0)


@OUTAGES
def test_without_redis_sending_is_refused_and_reading_works(
    browser_context: BrowserContext, served: tuple[Network, Instance], stack: Stack, kind: Outage
) -> None:
    page = signed_up(browser_context)
    ends(say(page, "long 8 speed 0"), "done")
    watch(page)
    in_memory = served[1].env["TAB_STATES"] == "memory"
    frozen_state = kind == "paused" and not in_memory
    with outage(stack, "valkey", kind):
        if frozen_state:
            # The tab's own state hangs with it: what was asked for waits, and is done afterwards.
            page.get_by_role("textbox", name="Message").fill("long 9 speed 0")
            page.get_by_role("textbox", name="Message").press("Enter")
            page.wait_for_timeout(1000)
        else:
            refused(page, "not now", "unavailable")
        assert seen(page).blank == 0
        if in_memory:
            # Reading needs no Redis: the conversation, a new one, and the dashboard.
            address = page.url
            page.reload()
            expect(page.locator("article")).to_have_count(2)
            page.goto("/chat")
            expect(page.get_by_role("textbox", name="Message")).to_be_editable()
            page.goto("/dashboard")
            expect(page.get_by_role("heading", name="Usage")).to_be_visible()
            page.goto(address)
            expect(page.locator("article")).to_have_count(2)
            refused(page, "nor now", "unavailable")
    if not frozen_state:
        page.get_by_role("textbox", name="Message").fill("long 9 speed 0")
        page.get_by_role("textbox", name="Message").press("Enter")
    replies = page.locator("article[data-role=assistant]")
    expect(replies).to_have_count(2, timeout=60_000)
    ends(replies.last, "done")
