"""Two processes of the product behind one address, with tabs' states in memory and in Redis."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from benchmarks.instance import Instance
from benchmarks.network import Network
from childprocess.processes import Process
from devstack.stack import Stack
from tests.services import Database
from tests.ui.conftest import browsing, serving, signed_up
from tests.ui.pages import ends
from tests.ui.test_connections import came_back, start, type_meanwhile
from tests.ui.watching import grows, seen, watch

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("front_end")]


class Two:
    """Processes A and B; `only` decides which of them browsers reach from now on."""

    def __init__(self, network: Network, served: Instance) -> None:
        self.network = network
        self.a, self.b = served.workers

    def only(self, *workers: Process) -> None:
        self.network.targets = [worker.service.port for worker in workers]
        self.network.cut()


@pytest.fixture(scope="module", params=["memory", "redis"])
def served(
    request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Network, Instance]]:
    folder = tmp_path_factory.mktemp("two")
    with serving(folder, stack, workers=2, TAB_STATES=request.param) as made:
        yield made


@pytest.fixture
def two(served: tuple[Network, Instance]) -> Generator[Two]:
    two = Two(*served)
    yield two
    for worker in (two.a, two.b):
        worker.start()
    two.only(two.a, two.b)


@pytest.fixture
def browser_context(chromium: Browser, two: Two) -> Generator[BrowserContext]:
    with browsing(chromium, two.network.url) as context:
        yield context


@pytest.fixture
def on_a(two: Two, browser_context: BrowserContext) -> tuple[Page, Locator]:
    """Someone's page with a reply in progress in process A."""
    two.only(two.a)
    return start(signed_up(browser_context))


def test_a_tab_that_comes_to_another_process_follows_on_and_stops_it_there(
    on_a: tuple[Page, Locator], two: Two
) -> None:
    page, reply = on_a
    type_meanwhile(page)
    two.only(two.b)
    grows(page)
    # Each of them once more, while the tab's state is in both hands.
    two.only(two.a)
    grows(page)
    two.only(two.b)
    grows(page)
    came_back(page, reply)


def test_a_process_killed_in_the_middle_of_a_reply_leaves_its_text_and_one_bill(
    on_a: tuple[Page, Locator], two: Two, database: Database
) -> None:
    page, reply = on_a
    type_meanwhile(page)
    two.network.targets = [two.b.service.port]
    shown = seen(page).length
    two.a.kill()
    message = reply.get_attribute("data-id")
    database("update reservations set lease_expires_at = now() where message_id = %s", message)
    ends(reply, "interrupted")
    found = seen(page)
    assert (found.blank < 1000, found.shrunk, found.length >= shown) == (True, [], True)
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    lines = "select outcome, completion_tokens > 0 from usage_records where message_id = %s"
    assert database(lines, message) == [("interrupted", True)]
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("article[data-role=assistant]")).to_have_count(2)
    again = page.locator("article[data-role=assistant]").last
    expect(again).to_contain_text("A long answer")
    watch(page)
    came_back(page, again)


def test_a_tab_of_a_killed_process_finds_its_reply_running_elsewhere(
    on_a: tuple[Page, Locator], two: Two
) -> None:
    page, reply = on_a
    two.only(two.b)
    grows(page)
    type_meanwhile(page)
    two.network.targets = [two.a.service.port]
    two.b.kill()
    grows(page)
    came_back(page, reply)


def test_a_rolling_restart_interrupts_only_what_outlasts_its_grace(
    on_a: tuple[Page, Locator], two: Two
) -> None:
    page, reply = on_a
    type_meanwhile(page)
    two.network.targets = [two.a.service.port, two.b.service.port]
    for worker in (two.a, two.b):
        worker.stop()
        worker.start()
    ends(reply, "interrupted")
    found = seen(page)
    assert (found.blank < 1000, found.shrunk) == (True, [])
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("article[data-role=assistant]")).to_have_count(2)
    again = page.locator("article[data-role=assistant]").last
    expect(again).to_contain_text("A long answer")
    watch(page)
    came_back(page, again)
