"""Connections that break while a reply runs, in a real Chromium, with a network in between.

Each time the page comes back to the same conversation by itself: nothing blank, nothing doubled,
nothing missing, and what was typed meanwhile still there.
"""

from __future__ import annotations

import re
from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from benchmarks import reconnect
from benchmarks.instance import Instance
from benchmarks.network import Network
from devstack.stack import Stack
from tests.ui.conftest import browsing, serving, signed_up
from tests.ui.pages import ends, say
from tests.ui.watching import grows, seen, watch

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("front_end")]

# Long enough for the breaks below, at the pace of a person who reads fast.
RUNNING = "long 4000 speed 40"
TYPED = "typed while it was gone"
# Seconds between two heartbeats, and for the answer to one; then a connection is given up.
HEARTBEAT = 2
COUNT_SOCKETS = """
  window.sockets = 0;
  window.WebSocket = class extends window.WebSocket {
    constructor(...given) {
      super(...given);
      window.sockets += 1;
    }
  };
"""


@pytest.fixture(scope="module")
def served(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Network, Instance]]:
    """One process whose tabs' states are in its memory: what it forgets is gone."""
    folder = tmp_path_factory.mktemp("served")
    with serving(
        folder,
        stack,
        app_env="development",
        REFLEX_SOCKET_INTERVAL=str(HEARTBEAT),
        REFLEX_SOCKET_TIMEOUT=str(HEARTBEAT),
    ) as made:
        yield made


@pytest.fixture
def network(served: tuple[Network, Instance]) -> Generator[Network]:
    yield served[0]
    served[0].restore()


@pytest.fixture
def browser_context(chromium: Browser, network: Network) -> Generator[BrowserContext]:
    with browsing(chromium, network.url) as context:
        yield context


@pytest.fixture
def running(browser_context: BrowserContext) -> tuple[Page, Locator]:
    """Someone's page with a reply in progress, watched."""
    return start(signed_up(browser_context))


def start(page: Page, text: str = RUNNING) -> tuple[Page, Locator]:
    reply = say(page, text)
    expect(reply).to_contain_text("A long answer")
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}$"))
    watch(page)
    return page, reply


def type_meanwhile(page: Page) -> None:
    page.get_by_role("textbox", name="Message").fill(TYPED)


def came_back(page: Page, reply: Locator) -> None:
    """It is whole, was never blank and never shrank; and what was typed is there."""
    page.get_by_role("button", name="Stop").click()
    ends(reply, "stopped")
    found = seen(page)
    assert found.blank < 1000
    assert found.shrunk == []
    expect(page.get_by_role("textbox", name="Message")).to_have_value(TYPED)
    shown = reply.locator("> div").text_content()
    page.reload()
    ends(reply, "stopped")
    expect(reply.locator("> div")).to_have_text(shown or "")
    expect(page.get_by_role("textbox", name="Message")).to_have_value(TYPED)


@pytest.mark.parametrize("seconds", [1, 4, 10])
def test_a_network_that_is_gone_for_a_while(
    running: tuple[Page, Locator], network: Network, seconds: float
) -> None:
    page, reply = running
    network.refuse()
    type_meanwhile(page)
    page.wait_for_timeout(seconds * 1000)
    if seconds > 3:
        expect(page.get_by_text("You're offline")).to_be_visible()
    network.restore()
    grows(page)
    came_back(page, reply)


def test_a_connection_that_is_cut_and_at_once_made_again(
    running: tuple[Page, Locator], network: Network
) -> None:
    page, reply = running
    for _ in range(3):
        network.cut()
        type_meanwhile(page)
        grows(page)
    came_back(page, reply)


def test_a_network_that_is_silent_and_then_goes_on(
    running: tuple[Page, Locator], network: Network
) -> None:
    page, reply = running
    network.freeze()
    type_meanwhile(page)
    page.wait_for_timeout(3 * HEARTBEAT * 1000)
    network.restore()
    grows(page)
    came_back(page, reply)


def test_a_half_open_connection_is_noticed(running: tuple[Page, Locator], network: Network) -> None:
    page, reply = running
    network.forget()
    type_meanwhile(page)
    grows(page)
    network.restore()
    came_back(page, reply)


def test_a_stop_that_is_lost_with_its_connection_is_requested_again(
    running: tuple[Page, Locator], network: Network
) -> None:
    page, reply = running
    network.forget()
    page.get_by_role("button", name="Stop").click()
    ends(reply, "stopped")


def test_a_half_open_connection_is_renewed_when_the_browser_is_back_online(
    browser_context: BrowserContext, network: Network
) -> None:
    browser_context.add_init_script(COUNT_SOCKETS)
    page, reply = start(signed_up(browser_context))
    network.forget()
    type_meanwhile(page)
    # The event itself opens a connection; the heartbeat would do so later.
    before, after = page.evaluate(
        "() => [window.sockets, window.dispatchEvent(new Event('online')) && window.sockets]"
    )
    assert after == before + 1
    grows(page)
    network.restore()
    came_back(page, reply)


def test_a_server_that_was_restarted_meanwhile(
    browser_context: BrowserContext, served: tuple[Network, Instance], network: Network
) -> None:
    page, reply = start(signed_up(browser_context))
    (worker,) = served[1].workers
    type_meanwhile(page)
    worker.stop()
    worker.start()
    # What had come when its grace was over is kept.
    ends(reply, "interrupted")
    found = seen(page)
    assert (found.blank < 1000, found.shrunk) == (True, [])
    expect(page.get_by_role("textbox", name="Message")).to_have_value(TYPED)
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("article[data-role=assistant]")).to_have_count(2)
    again = page.locator("article[data-role=assistant]").last
    expect(again).to_contain_text("A long answer")
    watch(page)
    came_back(page, again)


def test_reload_second_tab_and_second_device_see_the_same(
    running: tuple[Page, Locator],
    browser_context: BrowserContext,
    chromium: Browser,
    network: Network,
) -> None:
    page, _ = running
    second = browser_context.new_page()
    second.goto(page.url)
    with browsing(chromium, network.url) as device:
        device.add_cookies(browser_context.cookies())  # pyright: ignore[reportArgumentType]
        third = device.new_page()
        third.goto(page.url)
        page.reload()
        replies = [tab.locator("article[data-role=assistant]") for tab in (page, second, third)]
        for followed in replies:
            expect(followed).to_contain_text("A long answer")
        second.get_by_role("button", name="Stop").click()
        for followed in replies:
            ends(followed, "stopped")
        texts = {followed.locator("> div").text_content() for followed in replies}
    assert len(texts) == 1


def test_a_message_that_was_sent_without_a_network_is_sent_once(
    browser_context: BrowserContext, network: Network
) -> None:
    page = signed_up(browser_context)
    ends(say(page, "long 8 speed 0"), "done")
    network.refuse()
    box = page.get_by_role("textbox", name="Message")
    box.fill("long 9 speed 0")
    page.clock.install()
    box.press("Enter")
    expect(page.get_by_role("button", name="Send")).to_have_attribute("aria-disabled", "true")
    # Behind the time after which a page gives up on an answer; the browser's clock only.
    page.clock.fast_forward(21_000)
    expect(box).to_have_value("long 9 speed 0")
    box.press("Enter")
    network.restore()
    replies = page.locator("article[data-role=assistant]")
    expect(replies).to_have_count(2)
    ends(replies.last, "done")
    expect(box).to_have_value("")
    page.wait_for_timeout(1000)
    expect(replies).to_have_count(2)


def test_a_reply_that_ran_at_a_reload_stays_ended_when_the_next_one_begins(
    browser_context: BrowserContext,
) -> None:
    page = signed_up(browser_context)
    start(page, "long 120 speed 40")
    page.reload()
    first = page.locator("article[data-role=assistant]").first
    ends(first, "done")
    say(page, "long 60 speed 60")
    expect(first).to_have_attribute("data-status", "done")
    ends(page.locator("article[data-role=assistant]").last, "done")
    expect(first).to_have_attribute("data-status", "done")


def test_a_fast_reply_is_shown_without_asking_for_any_of_it_again(
    browser_context: BrowserContext,
) -> None:
    sent: list[str] = []
    browser_context.on(
        "page",
        lambda page: page.on(
            "websocket",
            lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))),
        ),
    )
    page = signed_up(browser_context)
    ends(say(page, "long 2000 speed 400"), "done")
    assert any("long 2000" in frame for frame in sent)
    assert not any("fill_gap" in frame for frame in sent)


def test_reconnecting_can_be_measured(chromium: Browser, network: Network) -> None:
    """How soon it is belongs to the benchmark."""
    found = reconnect.measured(chromium, network, rounds=1)
    assert set(found) == {"cut", "refused_1s", "refused_4s", "half_open"}
    for figures in found.values():
        assert 0 < figures["p50_ms"] <= figures["max_ms"]
