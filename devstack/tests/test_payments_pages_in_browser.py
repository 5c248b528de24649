"""What only a browser shows of the fake's pages: its own rules for forms, and how it looks."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

from devstack.chromium import chromium_path
from devstack.tests.payments_client import Counterpart, counterpart, sdk, variables_for
from devstack.tests.payments_plan import checkout, offer_plan, portal, subscribe


class Product(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<link rel=icon href=data:,><h1>The product</h1>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def product() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Product)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def payments(tmp_path: Path) -> Iterator[Counterpart]:
    with counterpart(variables_for(tmp_path / "books")) as running:
        yield running


@pytest.fixture
def addresses(payments: Counterpart, product: str) -> tuple[str, str]:
    """Of a Checkout session with a trial, and of someone's portal."""
    # Before a browser is there: while one is, its loop runs.
    return asyncio.run(_prepare(payments.url, product))


async def _prepare(url: str, product: str) -> tuple[str, str]:
    async with sdk(url) as client:
        plan = await offer_plan(client)
        session = await checkout(client, plan, trial_days=14, app=product)
        return session.url or "", await portal(client, await subscribe(client, plan))


@pytest.fixture
def page() -> Iterator[Page]:
    """On a narrow screen. It reports what the browser refuses."""
    executable, arguments = chromium_path()
    refused: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # An answer that names a form's errors is reported here too.
        if message.type == "error" and "422" not in message.text:
            refused.append(message.text)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        opened = browser.new_page(viewport={"width": 360, "height": 740})
        opened.on("console", note)
        yield opened
        browser.close()
    assert refused == []


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def type_card(page: Page, number: str) -> None:
    page.get_by_label("Card number").fill(number)
    page.get_by_label("Expires (MM/YY)").fill("12/40")
    page.get_by_label("CVC").fill("123")
    page.get_by_label("Name on card").fill("Ada L.")


def test_a_browser_follows_from_checkout_to_the_product(
    payments: Counterpart, product: str, addresses: tuple[str, str], page: Page
) -> None:
    address, billing = addresses
    page.goto(address)
    assert fits(page)
    type_card(page, "4000 0000 0000 0002")
    page.get_by_role("button", name="Start trial").click()
    expect(page.get_by_role("alert")).to_have_text("Your card was declined.")
    type_card(page, "4000 0025 0000 3155")
    page.get_by_role("button", name="Start trial").click()
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_role("heading", name="The product")).to_be_visible()
    assert page.url.startswith(f"{product}/billing?done=cs_test_")
    page.goto(billing)
    assert fits(page)
    page.get_by_role("link", name="Cancel plan").click()
    page.get_by_role("button", name="Cancel at the end of the period").click()
    expect(page.get_by_role("status")).to_have_text("The plan is canceled.")
    page.goto(payments.url)
    assert fits(page)
    page.get_by_role("button", name="+1 day").click()
    expect(page.get_by_text("1 day ahead of this machine.")).to_be_visible()
