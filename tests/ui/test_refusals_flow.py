"""What a person reads when a request is refused, or answered differently; and what a foreign
page gets. In a real Chromium, against an instance with the limits of the free plan as they are sold.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from aisaas.cli.instance import Running, running_in
from aisaas.settings import PROJECT_ROOT
from childprocess.folder import DataFolder
from childprocess.ports import HOST
from tests.services import write_catalogue
from tests.ui.conftest import PASSWORD, SignUp, started
from tests.ui.pages import answered, refused, say

QUICK = "long 8 speed 0"
# Two of these don't fit into the small window beside an answer.
LENGTHY = "a question with many words in it. " * 35
CONNECTED = """
({address, path}) => new Promise((resolve) => {
  const socket = new WebSocket(`${address.replace(/^http/, "ws")}${path}&transport=websocket`);
  socket.onopen = () => resolve(true);
  socket.onclose = () => resolve(false);
})
"""
READ = """
({address, path}) =>
  fetch(`${address}${path}&transport=polling`, {credentials: "include"}).then(() => true, () => false)
"""
SOCKET_PATH = "/_event/?EIO=4&token=00000000-0000-4000-8000-000000000000"

pytestmark = pytest.mark.timeout(400)
Operator = Callable[[str], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


@pytest.fixture(scope="module")
def url(folder: Path) -> Generator[str]:
    """In place of everybody's instance: outages and switches would disturb the others."""
    catalogue = write_catalogue(folder / "catalogue.json")
    with started(
        folder,
        MODEL_CATALOGUE=str(catalogue),
        DEFAULT_MODEL="demo",
        DEMO_TOKENS_PER_SECOND="0",
        FREE_TOKENS_PER_MONTH="1000000",
    ) as address:
        yield address


@pytest.fixture
def instance(folder: Path, url: str) -> Running:
    found = running_in(DataFolder(folder / "data"))
    assert found is not None
    assert found.url == url
    return found


@pytest.fixture
def operator(folder: Path, url: str) -> Operator:
    """The command line beside the running instance."""

    def run(command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "aisaas", *command.split()],
            env=os.environ | {"AISAAS_DATA_DIR": str(folder / "data")},
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    return run


def choose(page: Page, model: str) -> None:
    page.get_by_role("combobox", name="Model").select_option(label=model)


# Limits


def test_the_eleventh_message_of_a_minute_waits_where_it_was_typed(sign_up: SignUp) -> None:
    page = sign_up()
    for _ in range(10):
        answered(page, QUICK)
    alert = refused(page, "the eleventh", "rate_limited_minute")
    clock = alert.get_by_role("timer")
    expect(clock).to_have_text(re.compile(r"Try again in 0:[0-5]\d\."))

    def seconds() -> int:
        return int((clock.text_content() or "").rstrip(".").rsplit(":", 1)[-1])

    before = seconds()
    page.wait_for_timeout(2500)
    assert 0 < seconds() <= before - 2
    # Refused requests don't move the time to come back.
    page.get_by_role("button", name="Dismiss").click()
    expect(alert).to_have_count(0)
    refused(page, "the eleventh", "rate_limited_minute")
    assert 0 < seconds() <= before - 2
    expect(page.locator("article[data-role=user]")).to_have_count(10)


def test_a_suspended_account_is_reported(sign_up: SignUp, instance: Running) -> None:
    page = sign_up()
    answered(page, QUICK)
    email = page.locator(".account-email").text_content()
    suspend = "update profiles set suspended_at = {} where email = %s returning id"
    with psycopg.connect(instance.env["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        assert database.execute(suspend.format("now()"), [email]).fetchall()  # pyright: ignore[reportArgumentType]
        refused(page, "am I still here?", "suspended")
        assert database.execute(suspend.format("null"), [email]).fetchall()  # pyright: ignore[reportArgumentType]
    answered(page, QUICK)


def test_the_kill_switch_stops_new_replies_and_lets_them_go_on(
    sign_up: SignUp, operator: Operator
) -> None:
    page = sign_up()
    running = say(page, "long 40 speed 10")
    try:
        assert "new calls are stopped" in operator("switch engage --reason test")
        expect(running).to_have_attribute("data-status", "done", timeout=60_000)
        refused(page, QUICK, "spending_paused")
    finally:
        lifted = operator("switch lift --reason test")
    assert "calls resumed" in lifted
    answered(page, QUICK)
    expect(page.get_by_role("alert")).to_have_count(0)


# Another answer than the one that was asked for


def test_a_cut_history_is_said_where_it_was_cut(sign_up: SignUp) -> None:
    page = sign_up()
    choose(page, "Small window")
    first = answered(page, LENGTHY)
    expect(first.locator(".message-cut")).to_have_count(0)
    second = answered(page, LENGTHY)
    note = "take its oldest messages into account"
    expect(second.locator(".message-cut")).to_contain_text(note)
    page.reload()
    expect(page.locator("article[data-role=assistant] .message-cut")).to_have_count(1)
    expect(page.locator("article").last.locator(".message-cut")).to_contain_text(note)


def test_a_fallback_is_named_with_the_model_it_replaces(sign_up: SignUp) -> None:
    page = sign_up()
    choose(page, "Broken")
    reply = answered(page, QUICK)
    label = "Broken was unavailable, so Demo replied"
    expect(reply.locator(".facts-fallback")).to_have_text(label)
    page.reload()
    expect(page.locator("article").last.locator(".facts-fallback")).to_have_text(label)
    # The choice stays: it may answer next time.
    expect(page.get_by_role("combobox", name="Model")).to_have_value("broken")


# An outage


def test_without_redis_nothing_is_sent_and_afterwards_everything(
    sign_up: SignUp, instance: Running
) -> None:
    page = sign_up()
    answered(page, QUICK)
    os.kill(instance.pids["valkey"], signal.SIGSTOP)
    try:
        refused(page, QUICK, "unavailable")
        # Who only wants to read can.
        page.reload()
        expect(page.locator("article")).to_have_count(2)
        expect(page.get_by_role("textbox", name="Message")).to_have_value(QUICK)
    finally:
        os.kill(instance.pids["valkey"], signal.SIGCONT)
    answered(page, QUICK)
    expect(page.locator("article")).to_have_count(4)


def test_a_crash_of_redis_costs_a_moment(sign_up: SignUp, instance: Running, folder: Path) -> None:
    page = sign_up()
    answered(page, QUICK)
    os.kill(instance.pids["valkey"], signal.SIGKILL)
    while (now := running_in(DataFolder(folder / "data"))) and now.pids == instance.pids:
        page.wait_for_timeout(100)
    answered(page, QUICK)


# A page of another origin, in a browser that is signed in here


@contextmanager
def a_foreign_site(folder: Path) -> Generator[str]:
    """The same host on another port: as foreign as can be while cookies still come along."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer((HOST, 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def foreign(
    chromium: Browser, sign_up: SignUp, context: BrowserContext, url: str, tmp_path: Path
) -> Generator[Page]:
    """A foreign page in a browser with someone's session; its console is its own business."""
    sign_up()
    forms = [
        f'<form id="{name}" method="post" action="{url}/api/session/{name}">'
        '<input name="email" value="eve@example.com">'
        f'<input name="password" value="{PASSWORD}"><button>Win a prize</button></form>'
        for name in ("sign-in", "sign-up", "sign-out")
    ]
    (tmp_path / "index.html").write_text("<!doctype html><title>Foreign</title>" + "".join(forms))
    with a_foreign_site(tmp_path) as address:
        theirs = chromium.new_context(storage_state=context.storage_state())
        page = theirs.new_page()
        page.goto(address)
        yield page
        theirs.close()


def test_a_foreign_page_gets_no_socket(foreign: Page, url: str) -> None:
    where = {"address": url, "path": SOCKET_PATH}
    # A port is no boundary for cookies: this page's own server is sent the session.
    answer = foreign.reload()
    assert answer is not None
    assert "session=" in answer.request.all_headers()["cookie"]
    assert foreign.evaluate(READ, where) is False
    assert foreign.evaluate(CONNECTED, where) is False
    foreign.goto(url)
    assert foreign.evaluate(CONNECTED, where) is True
    assert foreign.evaluate(READ, where) is True


@pytest.mark.parametrize("form", ["sign-in", "sign-up", "sign-out"])
def test_a_foreign_page_cannot_sign_anybody_in_or_out(foreign: Page, url: str, form: str) -> None:
    before = foreign.context.cookies(url)
    with foreign.expect_response(f"{url}/api/session/{form}") as answer:
        foreign.locator(f"#{form} button").click()
    assert answer.value.status == 403
    assert foreign.context.cookies(url) == before
    foreign.goto(f"{url}/chat")
    expect(foreign.get_by_role("textbox", name="Message")).to_be_visible()
    expect(foreign.locator(".account-email")).not_to_have_text("eve@example.com")
