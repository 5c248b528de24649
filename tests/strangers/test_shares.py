"""Shares, rates and turns: each at its edge, and nobody behind the same address is locked out."""

from __future__ import annotations

import asyncio

import pytest

from aisaas.api import shares
from aisaas.api.shares import Rate, Shares, Turns

# One that nothing is added to while a test runs.
HARDLY = 0.001


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(shares.time, "monotonic", lambda: now[0])
    return now


def test_the_oldest_gives_way_once_a_share_is_used_up() -> None:
    held: Shares[str] = Shares(2)
    assert [held.take("a", name) for name in ("first", "second")] == [None, None]
    assert held.take("a", "third") == "first"
    assert held.take("b", "another address") is None
    assert (held.count("a"), held.count("b")) == (2, 1)


def test_what_is_released_makes_room_and_leaves_nothing_behind() -> None:
    held: Shares[str] = Shares(1)
    held.take("a", "first")
    held.release("a", "first")
    held.release("a", "never there")
    held.release("nobody", "first")
    assert held.count("a") == 0
    assert held.take("a", "second") is None


def test_a_rate_allows_a_burst_and_then_its_average(clock: list[float]) -> None:
    rate = Rate(per_second=4, burst=3)
    assert [rate.take() for _ in range(3)] == [0, 0, 0]
    assert [rate.take(), rate.take()] == [0.25, 0.5]
    clock[0] += 0.75
    assert rate.take() == 0
    assert not rate.is_idle
    clock[0] += 10
    assert rate.is_idle
    assert rate.wait() == 0


async def test_turns_within_the_burst_are_at_once() -> None:
    turns = Turns(per_second=HARDLY, at_once=3, most_waiting=1)
    assert await asyncio.gather(*(turns.take("a") for _ in range(3))) == [True] * 3
    assert await turns.take("another address")


async def test_newest_is_let_in_first_and_the_oldest_is_turned_away() -> None:
    turns = Turns(per_second=20, at_once=1, most_waiting=2)
    assert await turns.take("a")
    order: list[int] = []

    async def wait(number: int) -> bool:
        let_in = await turns.take("a")
        order.append(number)
        return let_in

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    assert await asyncio.gather(*waiting) == [False, True, True]
    assert order == [0, 2, 1]


async def test_rates_that_nobody_needs_are_dropped(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.setattr(shares, "PRUNED_AT", 3)
    turns = Turns(per_second=1, at_once=1, most_waiting=1)
    for name in "abc":
        await turns.take(name)
    clock[0] += 5
    await turns.take("d")
    assert set(turns._rates) == {"d"}  # pyright: ignore[reportPrivateUsage]
