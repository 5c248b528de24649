"""What the log says of errors that pages report: nothing that its reporter chose, and not often."""

from __future__ import annotations

import logging

import pytest

from aisaas.ui import page_errors
from aisaas.ui.page_errors import (
    OTHER,
    PER_ADDRESS,
    PER_WINDOW,
    WINDOW_SECONDS,
    PageErrors,
    described,
)

ASSETS = frozenset({"chat-6shUsDau.js"})
STACK = (
    "TypeError: the cat of Xanthippe is undefined\n"
    "    at send (https://chat.example.com/assets/chat-6shUsDau.js:12:345)\n"
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(page_errors.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, page_errors.log.name)
    return caplog


def test_an_error_is_reported_by_its_kind_and_its_place_in_our_build() -> None:
    assert described(STACK, ASSETS) == ("TypeError", "chat-6shUsDau.js:12:345")
    assert described(f"Uncaught {STACK}", ASSETS)[0] == "TypeError"


@pytest.mark.parametrize(
    "text",
    [
        "secret words of a user",
        "SecretWordsError: x",
        "\n2026-11-30 ERROR aisaas: forged at /assets/forged.js:1:2",
        "/assets/../chat-6shUsDau.js/secret:1:1",
        "x" * 100_000,
        "\x1b[2Jgone",
        "",
        None,
        7,
        {"a": 1},
    ],
)
def test_what_else_it_says_is_not_reported(text: object) -> None:
    assert described(text, ASSETS) == (OTHER, "")


def test_each_address_may_report_so_many_and_the_rest_is_counted(
    lines: pytest.LogCaptureFixture, clock: list[float]
) -> None:
    reports = PageErrors(ASSETS)
    for _ in range(PER_ADDRESS + 7):
        reports.report("203.0.113.7", STACK)
    assert len(lines.messages) == PER_ADDRESS
    reports.report("203.0.113.8", STACK)
    assert len(lines.messages) == PER_ADDRESS + 1
    assert lines.messages[0] == "a page reported: TypeError at chat-6shUsDau.js:12:345"
    clock[0] += WINDOW_SECONDS + 1
    reports.report("203.0.113.7", STACK)
    assert lines.messages[-2] == "pages reported 7 more errors"
    assert len(lines.messages) == PER_ADDRESS + 3


@pytest.mark.usefixtures("clock")
def test_all_addresses_together_may_report_so_many(lines: pytest.LogCaptureFixture) -> None:
    reports = PageErrors(ASSETS)
    for number in range(PER_WINDOW + 30):
        reports.report(f"203.0.113.{number}", STACK)
    assert len(lines.messages) == PER_WINDOW
