"""A page that is open while its workers are replaced, or killed, in a real Chromium."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from childprocess.tree import process_tree
from devstack.stack import Stack
from tests.front_end import hidden
from tests.serve.conftest import Served, served
from tests.services import Database
from tests.ui.conftest import browsing, signed_up
from tests.ui.pages import answered, ends, say
from tests.ui.watching import seen, watch

TYPED = "typed meanwhile"

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("front_end")]


@pytest.fixture(scope="module")
def two(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    folder = tmp_path_factory.mktemp("two")
    with served(folder, stack, "--workers", "2", SHUTDOWN_GRACE_SECONDS="30") as running:
        yield running


@pytest.fixture
def page(chromium: Browser, two: Served) -> Generator[Page]:
    with browsing(chromium, two.url) as context:
        yield signed_up(context)


def watched(page: Page, text: str) -> Locator:
    reply = say(page, text)
    expect(reply).to_contain_text("A long answer", timeout=60_000)
    watch(page)
    page.get_by_role("textbox", name="Message").fill(TYPED)
    return reply


def went_on(page: Page, replies: int) -> None:
    """Nothing was blank, reloaded, or lost; the new process sends what was typed."""
    found = seen(page)
    assert (found.blank < 1000, found.shrunk) == (True, [])
    box = page.get_by_role("textbox", name="Message")
    expect(box).to_have_value(TYPED)
    box.press("Enter")
    expect(page.locator("article[data-role=assistant]")).to_have_count(replies, timeout=60_000)
    ends(page.locator("article[data-role=assistant]").last, "done")
    page.reload()
    expect(page.locator("article[data-role=assistant]")).to_have_count(replies)


def test_a_rolling_restart_loses_neither_page_nor_reply(page: Page, two: Served) -> None:
    answered(page, "long 8 speed 0")
    before = two.workers
    reply = watched(page, "long 200 speed 40")
    two.process.send_signal(signal.SIGHUP)
    ends(reply, "done")
    two.says("All workers are new")
    assert len(two.workers) == 2
    assert not two.workers & before
    went_on(page, 3)


def test_a_restart_that_could_not_serve_is_given_up(two: Served) -> None:
    before = two.workers
    with hidden():
        two.process.send_signal(signal.SIGHUP)
        two.says("The restart is given up")
    assert two.workers == before


def test_a_page_waits_while_nobody_is_there_and_goes_on(
    page: Page, two: Served, database: Database
) -> None:
    reply = watched(page, "long 4000 speed 40")
    before = two.log.read_text().count("is back.")
    for worker in two.workers:
        for member in process_tree(worker):
            os.kill(member, signal.SIGKILL)
    message = reply.get_attribute("data-id")
    database("update reservations set lease_expires_at = now() where message_id = %s", message)
    two.says("is back.", times=before + 2)
    ends(reply, "interrupted")
    lines = "select outcome, completion_tokens > 0 from usage_records where message_id = %s"
    assert database(lines, message) == [("interrupted", True)]
    went_on(page, 2)
