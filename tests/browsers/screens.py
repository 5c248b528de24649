"""A page in Firefox or WebKitGTK, as the flows use it: found and clicked by XPath, read and waited for.

Playwright drives Firefox, in a version that works with Mozilla's own builds. Selenium drives WebKitGTK through
its own driver.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from playwright.sync_api import Page, sync_playwright
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import WebKitGTK, WebKitGTKOptions
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from selenium.webdriver.webkitgtk.service import Service

SIZE = (1280, 800)
PATIENCE_SECONDS = 30.0


class Screen(Protocol):
    """What is found is the first that can be seen; `text` and `attribute` are empty without one."""

    def open(self, address: str) -> None: ...
    def reload(self) -> None: ...
    def address(self) -> str: ...
    def count(self, path: str) -> int: ...
    def text(self, path: str) -> str: ...
    def attribute(self, path: str, name: str) -> str: ...
    def click(self, path: str) -> None: ...
    def hover(self, path: str) -> None: ...
    def fill(self, path: str, text: str) -> None: ...
    def choose(self, path: str, label: str) -> None: ...
    def complaints(self) -> list[str]: ...


def until(looks: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not looks():
        assert time.monotonic() < deadline, f"never seen: {what}"
        time.sleep(0.05)


# Paths


def button(name: str, within: str = "") -> str:
    """By how its name begins."""
    own, shown = f"starts-with(@aria-label, {name!r})", f"starts-with(normalize-space(), {name!r})"
    return f"{within}//button[{own} or not(@aria-label) and {shown}]"


def field(name: str, within: str = "") -> str:
    """By its own label, or by one that names it or is around it."""
    labelled = (
        f"@aria-label={name!r} or @id=//label[normalize-space()={name!r}]/@for"
        f" or ancestor::label[starts-with(normalize-space(), {name!r})]"
    )
    return f"{within}//*[self::input or self::textarea or self::select][{labelled}]"


def saying(words: str) -> str:
    return f"//*[not(self::script)][text()[contains(normalize-space(), {words!r})]]"


class FirefoxScreen:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._complaints: list[str] = []
        page.on("pageerror", lambda error: self._complain(str(error)))

    def _complain(self, words: str) -> None:
        # Firefox asks every host for one, also where a page's policy forbids it.
        if "favicon.ico" not in words:
            self._complaints.append(words)

    def open(self, address: str) -> None:
        self._page.goto(address)

    def reload(self) -> None:
        self._page.reload()

    def address(self) -> str:
        # It is known from events, which are read while something is waited for.
        self._page.wait_for_timeout(1)
        return self._page.url

    def count(self, path: str) -> int:
        return self._page.locator(f"xpath={path}").filter(visible=True).count()

    def text(self, path: str) -> str:
        found = self._page.locator(f"xpath={path}").filter(visible=True).all_inner_texts()
        return found[0] if found else ""

    def attribute(self, path: str, name: str) -> str:
        return str(
            self._page.evaluate(
                """([path, name]) => {
                  const found = document.evaluate(path, document, null, 9, null).singleNodeValue;
                  return found ? (found[name] ?? found.getAttribute(name) ?? "") : "";
                }""",
                [path, name],
            )
        )

    def click(self, path: str) -> None:
        self._page.locator(f"xpath={path}").filter(visible=True).first.click()

    def hover(self, path: str) -> None:
        self._page.locator(f"xpath={path}").filter(visible=True).first.hover()

    def fill(self, path: str, text: str) -> None:
        self._page.locator(f"xpath={path}").filter(visible=True).first.fill(text)

    def choose(self, path: str, label: str) -> None:
        self._page.locator(f"xpath={path}").filter(visible=True).first.select_option(label=label)

    def complaints(self) -> list[str]:
        return self._complaints


# What a page throws, for a driver that doesn't tell.
_WATCH = """
window.__thrown = [];
window.addEventListener("error", (event) => event.message && window.__thrown.push(event.message));
"""


class WebKitScreen:
    def __init__(self, driver: WebKitGTK) -> None:
        self._driver = driver

    def open(self, address: str) -> None:
        self._driver.get(address)
        self._driver.execute_script(_WATCH)

    def reload(self) -> None:
        self._driver.refresh()
        self._driver.execute_script(_WATCH)

    def address(self) -> str:
        return self._driver.current_url

    def _seen(self, path: str) -> list[WebElement]:
        found: list[WebElement] = []
        for each in self._driver.find_elements(By.XPATH, path):
            try:
                if each.is_displayed():
                    found.append(each)
            except WebDriverException:
                # The page has replaced it.
                continue
        return found

    def _first(self, path: str) -> WebElement:
        until(lambda: self._seen(path), path)
        return self._seen(path)[0]

    def count(self, path: str) -> int:
        return len(self._seen(path))

    def text(self, path: str) -> str:
        try:
            return next((each.text for each in self._seen(path)), "")
        except WebDriverException:
            return ""

    def attribute(self, path: str, name: str) -> str:
        found = self._driver.find_elements(By.XPATH, path)
        return str((found[0].get_property(name) or found[0].get_attribute(name)) if found else "")

    def click(self, path: str) -> None:
        self._again(lambda: self._first(path).click())

    def hover(self, path: str) -> None:
        script = "arguments[0].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))"
        self._driver.execute_script(script, self._first(path))

    def fill(self, path: str, text: str) -> None:
        def write() -> None:
            self._first(path).clear()
            self._first(path).send_keys(text)

        self._again(write)

    def choose(self, path: str, label: str) -> None:
        self._again(lambda: Select(self._first(path)).select_by_visible_text(label))

    def complaints(self) -> list[str]:
        return list(self._driver.execute_script("return window.__thrown ?? []"))

    @staticmethod
    def _again(act: Callable[[], None]) -> None:
        """A page that is still moving may take an element away between two requests of the driver."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return act()
            except WebDriverException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


# Browsers


def _program(*names: str) -> str:
    if found := next((path for name in names if (path := shutil.which(name))), None):
        return found
    raise AssertionError(
        f"{names[0]} is needed; on Debian: apt install firefox-esr webkit2gtk-driver xvfb"
    )


@contextmanager
def firefox() -> Generator[Screen]:
    path = os.environ.get("FIREFOX") or _program("firefox-esr", "firefox")
    with sync_playwright() as playwright:
        browser = playwright.firefox.launch(channel="moz-firefox", executable_path=path)
        try:
            page = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}).new_page()
            page.set_default_timeout(PATIENCE_SECONDS * 1000)
            yield FirefoxScreen(page)
        finally:
            browser.close()


@contextmanager
def webkit() -> Generator[Screen]:
    with _display() as display:
        service = Service(_program("WebKitWebDriver"), env=os.environ | {"DISPLAY": display})
        options = WebKitGTKOptions()
        options.binary_location = _mini_browser()
        options.add_argument("--automation")
        options.add_argument(f"--geometry={SIZE[0]}x{SIZE[1]}")
        driver = WebKitGTK(options=options, service=service)
        try:
            yield WebKitScreen(driver)
        finally:
            driver.quit()


def _mini_browser() -> str:
    found = shutil.which(
        "MiniBrowser",
        path="/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1:/usr/lib/x86_64-linux-gnu/webkit2gtk-4.0",
    )
    assert found, "MiniBrowser is needed; on Debian: apt install webkit2gtk-driver"
    return found


@contextmanager
def _display() -> Generator[str]:
    """A virtual display."""
    read, write = os.pipe()
    size = f"{SIZE[0]}x{SIZE[1]}x24"
    server = subprocess.Popen(
        [_program("Xvfb"), "-displayfd", str(write), "-screen", "0", size, "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as said:
            yield f":{said.readline().strip()}"
    finally:
        server.terminate()
        server.wait(10)
