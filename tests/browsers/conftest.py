"""Browsers beside Chromium, and the instance that they share; `make test-browsers` runs these tests."""

from __future__ import annotations

from collections.abc import Generator
from uuid import uuid4

import pytest

from tests.browsers.screens import Screen, button, field, firefox, until, webkit
from tests.ui.conftest import PASSWORD, front_end, shared_folder, url

__all__ = ["front_end", "shared_folder", "url"]


@pytest.fixture(params=[firefox, webkit], ids=lambda browser: browser.__name__)
def screen(request: pytest.FixtureRequest) -> Generator[Screen]:
    with request.param() as screen:
        yield screen


def sign_up(screen: Screen, url: str) -> None:
    screen.open(f"{url}/signup?redirectTo=/chat")
    screen.fill(field("Full name"), "Ada Lovelace")
    screen.fill(field("Email"), f"ada-{uuid4().hex[:10]}@example.com")
    screen.fill(field("Password"), PASSWORD)
    screen.click(button("Create account"))
    until(lambda: screen.address() == f"{url}/chat", "the chat page")
    until(lambda: screen.count(field("Message")), "the composer")


@pytest.fixture
def member(screen: Screen, url: str) -> Generator[Screen]:
    """A new user on the chat page."""
    sign_up(screen, url)
    yield screen
    assert screen.complaints() == []
