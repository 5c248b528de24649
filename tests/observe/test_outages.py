"""An outage is a line when it begins, a line when it ends, and counts between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator

import pytest

from aisaas.adapters import redis_client
from aisaas.errors import DependencyError
from aisaas.observe import outages
from aisaas.observe.outages import LATE_IN_A_ROW, OUTAGES, Outages, QuietWhileAway
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.parts import Outage, outage

log = logging.getLogger("aisaas.tests")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Generator[list[str]]:
    """What would be written, as `serve` sets logging up."""
    quiet, found = QuietWhileAway(), list[str]()

    class Written(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    written = Written()
    written.addFilter(quiet)
    caplog.set_level(logging.INFO)
    logging.getLogger().addHandler(written)
    yield found
    logging.getLogger().removeHandler(written)


async def ask(services: Services, part: str) -> None:
    """What a job does, and how it takes an outage."""
    try:
        if part == "redis":
            await services.job_times.read()
        else:
            await services.switches.engaged()
    except DependencyError as error:
        log.warning("this waits: %s", error)


@pytest.mark.parametrize(
    ("part", "named", "kind"),
    [
        ("valkey", "redis", "stopped"),
        ("valkey", "redis", "paused"),
        ("postgres", "database", "stopped"),
    ],
)
async def test_an_outage_is_two_lines_and_a_count(
    services: Services,
    stack: Stack,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    named: str,
    kind: Outage,
) -> None:
    monkeypatch.setattr(outages, "QUIET_SECONDS", 0.0)
    # A machine that is busy must not be a second outage.
    monkeypatch.setattr(redis_client, "COMMAND_SECONDS", 1.0)
    await ask(services, named)
    lines.clear()
    with outage(stack, part, kind):
        for _ in range(10 + LATE_IN_A_ROW):
            await ask(services, named)
        with monkeypatch.context() as soon:
            soon.setattr(outages, "AGAIN_SECONDS", 0.0)
            await ask(services, named)
    async with asyncio.timeout(60):
        while OUTAGES.is_away(named):
            await ask(services, named)
            await asyncio.sleep(0.05)
    logged = [line for line in lines if line.startswith(f"{named} ")]
    begun = [line for line in logged if "an outage begins" in line]
    ended = [line for line in logged if "is back" in line]
    between = [line for line in logged if "has been away for" in line]
    assert (len(begun), len(ended)) == (1, 1)
    # Jobs ask meanwhile, too.
    assert between
    assert "requests failed" in ended[0]
    # Nothing else, but what was said before it was known to be an outage.
    waits = [line for line in lines if line.startswith("this waits")]
    assert len(waits) < LATE_IN_A_ROW
    assert "0 lines left out" not in ended[0]


def test_a_busy_moment_is_no_outage(lines: list[str]) -> None:
    found = Outages()
    for _ in range(5):
        for _ in range(LATE_IN_A_ROW - 1):
            found.failed("database", late=True)
        found.answered("database")
    assert not found.is_away("database")
    assert not any("outage" in line for line in lines)
    for _ in range(LATE_IN_A_ROW):
        found.failed("database", late=True)
    assert found.is_away("database")


def test_what_a_refused_connection_says_is_believed_at_once() -> None:
    found = Outages()
    found.failed("redis", late=False)
    assert found.is_away("redis")


def test_a_part_that_fails_now_and_then_is_not_back() -> None:
    found = Outages()
    found.failed("redis", late=False)
    found.answered("redis")
    assert found.is_away("redis")


def test_what_says_something_else_is_written_during_an_outage(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Outages()
    monkeypatch.setattr(outages, "OUTAGES", ours)
    ours.failed("redis", late=False)
    log.warning("a line of its own")
    try:
        raise DependencyError("database")
    except DependencyError as error:
        log.warning("of another part: %s", error)
    try:
        raise ValueError("a bug")
    except ValueError:
        log.exception("a surprise")
    try:
        raise DependencyError("redis")
    except DependencyError as error:
        log.critical("what wakes someone: %s", error)
        log.warning("left out: %s", error)
    assert lines[-4:] == [
        "a line of its own",
        "of another part: database",
        "a surprise",
        "what wakes someone: redis",
    ]
