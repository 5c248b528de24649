"""The measurement of the door measures the door. How fast it is belongs to the measurement."""

from __future__ import annotations

import pytest

from aisaas.db import engine
from benchmarks import guard
from devstack.stack import Stack
from tests.services import Database


@pytest.fixture
def a_machine_with_other_work(monkeypatch: pytest.MonkeyPatch, patience: None) -> None:
    """Here nobody is away, however long an answer takes."""
    monkeypatch.setattr(engine, "ASK_SECONDS", 60.0)
    monkeypatch.setattr(engine, "POOL_WAIT_SECONDS", 60.0)
    monkeypatch.setattr(engine, "TRANSACTION_SECONDS", 60.0)


@pytest.mark.usefixtures("a_machine_with_other_work")
async def test_every_measured_call_passed_the_whole_door_and_was_given_back(
    stack: Stack, database: Database
) -> None:
    counted = "select count(*) from public.reservations"
    still_open = "select id from public.reservations where state = 'open'"
    [[before]], open_before = database(counted), set(database(still_open))
    found = await guard.measured_on(stack, rounds=10, seconds=0.1)
    assert set(found) == {"alone", "at_300", "floor"}
    for figures in found.values():
        assert set(figures) == {"p50_ms", "p99_ms"}
        assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    # Each call that is measured alone has its floor beside it.
    calls = 2 * (guard.WARM_UP_CALLS + 10) + int(guard.RATE * (guard.WARM_UP_SECONDS + 0.1))
    assert isinstance(before, int)
    [[after]], open_after = database(counted), set(database(still_open))
    assert after == before + calls
    # A reply of another test may have ended meanwhile, but none of the measured calls is open.
    assert open_after - open_before == set()
