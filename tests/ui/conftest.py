"""The UI on the real services, for handlers; the whole product, for browsers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
import reflex as rx
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)
from playwright.sync_api import Error as PlaywrightError
from reflex_base.registry import RegistrationContext

from aisaas import wiring
from aisaas.cli import environment, main
from aisaas.cli.build import frontend
from aisaas.cli.instance import running_in
from aisaas.settings import PROJECT_ROOT, load
from aisaas.ui import routes
from aisaas.ui.session import OwnerOnly
from aisaas.wiring import Services
from benchmarks.instance import Instance, instance
from benchmarks.network import Network
from childprocess.folder import DataFolder
from childprocess.ports import free_port
from devstack.chromium import chromium_path
from devstack.stack import Stack
from tests.front_end import kept
from tests.services import EMBEDDED

# The first start builds the front end.
START_SECONDS = 300
STOP_SECONDS = 30
# A busy machine may take its time; what never comes fails all the same.
expect.set_options(timeout=20_000)

PASSWORD = "a password for a test"

SignUp = Callable[[], Page]
Execute = Callable[..., None]


@pytest.fixture
def domain(services: Services, monkeypatch: pytest.MonkeyPatch) -> Generator[Services]:
    """What this process's `services()` builds are these; everything behind them is real."""
    monkeypatch.setattr(wiring, "settings", lambda: services.settings)
    monkeypatch.setattr(wiring, "build", lambda _: services)
    wiring.services.cache_clear()
    yield services
    wiring.services.cache_clear()


@pytest.fixture
def app(bare_app: rx.App) -> Generator[rx.App]:
    """What Reflex asks before events: an app without pages or sockets, also where a test has imported the
    product's own, which would load the page of a new tab after its first event."""
    with _registered(bare_app):
        yield bare_app


@pytest.fixture(scope="session")
def bare_app() -> rx.App:
    with _registered(None):
        app = rx.App(enable_state=False)
    app.add_middleware(OwnerOnly(), index=0)
    return app


@contextmanager
def _registered(app: rx.App | None) -> Generator[None]:
    """Reflex has one app in a process and takes no second."""
    context = RegistrationContext.get()
    before = context._app
    object.__setattr__(context, "_app", app)
    try:
        yield
    finally:
        object.__setattr__(context, "_app", before)


@contextmanager
def started(folder: Path, **variables: str) -> Generator[str]:
    """The whole product, started as everybody starts it, with its data in `folder`; its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = os.environ | {"PORT": str(port), "AISAAS_DATA_DIR": str(folder / "data")} | variables
    command = [sys.executable, "-m", "aisaas", "run"]
    with ExitStack() as undo:
        with kept():
            with (folder / "run.log").open("w") as log:
                process = subprocess.Popen(
                    command, cwd=PROJECT_ROOT, env=env, stdout=log, stderr=log
                )
            undo.callback(process.wait, STOP_SECONDS)
            undo.callback(process.terminate)
            _wait_until_it_answers(address, process, folder / "run.log")
        yield address


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the instance that tests share keeps its data."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def url(shared_folder: Path) -> Generator[str]:
    """An instance with an allowance of its own, and a pace no test runs into."""
    allowance = {"FREE_TOKENS_PER_MONTH": "6000", "FREE_REQUESTS_PER_MINUTE": "1000"}
    allowance |= {"SIGN_UPS_PER_ADDRESS": "1000", "MAILS_PER_ADDRESS": "1000"}
    with started(shared_folder, **allowance) as address:
        yield address


def _wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{address}/ping").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.3)
        else:
            return
    pytest.fail(f"the app did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def front_end(stack: Stack) -> None:
    """The pages, built, for processes that tests start themselves."""
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    settings = load(**(values | {"embedded_parts": EMBEDDED}))
    with kept():
        if not frontend.is_current(settings):
            frontend.build(settings, stack.folder)


@contextmanager
def serving(
    folder: Path, stack: Stack, *, workers: int = 1, app_env: str = "preview", **env: str
) -> Generator[tuple[Network, Instance]]:
    """Processes of the product behind a network that a test may break."""
    with Network([]) as network:
        settings = {"APP_ENV": app_env, **env}
        with instance(folder, workers=workers, url=network.url, stack=stack, **settings) as made:
            network.targets = list(made.ports)
            yield network, made


@contextmanager
def browsing(chromium: Browser, url: str) -> Generator[BrowserContext]:
    """A browser of its own (a device), whose pages break no rule of ours."""
    context = chromium.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    broken: list[str] = []
    context.on("weberror", lambda error: broken.append(str(error.error)))
    yield context
    context.close()
    assert broken == []


_browsers: list[Browser] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was on the screens when a test failed."""
    report = yield
    if report.failed:
        devices = (device for browser in _browsers for device in browser.contexts)
        for page in (page for device in devices for page in device.pages):
            with suppress(PlaywrightError):
                report.sections.append((f"page {page.url}", page.locator("body").aria_snapshot()))
    return report


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    """For one module: Playwright's loop runs while it is open, and async tests bring their own."""
    path, arguments = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        _browsers.append(browser)
        yield browser
        _browsers.remove(browser)
        browser.close()


@pytest.fixture
def context(chromium: Browser, url: str) -> Generator[BrowserContext]:
    context = chromium.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    complaints: list[str] = []

    def listen(page: Page) -> None:
        page.on("console", lambda message: complaints.extend(_complaint(message)))
        page.on("pageerror", lambda error: complaints.append(str(error)))

    context.on("page", listen)
    yield context
    context.close()
    assert complaints == []


def _complaint(message: ConsoleMessage) -> list[str]:
    """What should not be said. The browser itself notes refused forms and broken connections."""
    noted = ("server responded with a status of 4", "net::ERR_INTERNET_DISCONNECTED")
    if message.type != "error" or any(note in message.text for note in noted):
        return []
    return [message.text]


@pytest.fixture
def sign_up(context: BrowserContext) -> SignUp:
    return lambda: signed_up(context)


@pytest.fixture
def phone(chromium: Browser, url: str) -> Generator[Page]:
    context = chromium.new_context(
        base_url=url, viewport={"width": 390, "height": 740}, has_touch=True, is_mobile=True
    )
    yield signed_up(context)
    context.close()


def signed_up(context: BrowserContext) -> Page:
    """A tab of someone new, on the chat page. Its account was made without the form, which has tests of
    its own."""
    page = context.new_page()
    answer = context.request.post(
        "/api/session/sign-up",
        headers={"Accept": "application/json"},
        form={
            "full_name": "Ada Lovelace",
            "email": f"ada-{uuid4().hex[:10]}@example.com",
            "password": PASSWORD,
        },
        # The server may be closing the connection that an earlier request left open.
        max_retries=3,
    )
    expect(answer).to_be_ok()
    page.goto(routes.CHAT)
    return page


def make_admin(page: Page, folder: Path) -> None:
    """Who is signed in there becomes an admin."""
    grant_admin(page.locator(".account-email").text_content() or "", folder)


def grant_admin(email: str, folder: Path) -> None:
    """By an operator, beside the instance in `folder`."""
    running = running_in(DataFolder(folder / "data"))
    assert running is not None
    with pytest.MonkeyPatch.context() as patch:
        for name, value in running.env.items():
            patch.setenv(name, value)
        patch.setenv("AISAAS_DATA_DIR", str(folder / "data"))
        environment.configured.cache_clear()
        # In a thread of its own, because this one has Playwright's event loop.
        with ThreadPoolExecutor(1) as beside:
            command = ["admin", "grant", email, "--reason", "runs this", "--yes"]
            assert beside.submit(main, command).result(60) == 0
    environment.configured.cache_clear()


# For a second model that a new account may choose.
EVERYBODYS = (
    "insert into private.model_overrides (model, plans, changed_by)"
    " values ('demo-large', '{free,pro,business}', 'tests')"
)


@pytest.fixture
def execute(url: str, shared_folder: Path) -> Generator[Execute]:
    """Runs a statement as the schema's owner; models are as in the catalogue before and afterwards."""
    running = running_in(DataFolder(shared_folder / "data"))
    assert running is not None

    def run(statement: str, *values: object) -> None:
        with psycopg.connect(running.env["MIGRATION_DATABASE_URL"], autocommit=True) as database:
            database.execute(statement, values)  # pyright: ignore[reportArgumentType]

    def forget_changes() -> None:
        for table in ("model_overrides", "added_models"):
            run(f"delete from private.{table}")

    forget_changes()
    yield run
    forget_changes()
