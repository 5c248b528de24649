"""What the server keeps of tabs: little of strangers, and not for long."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from reflex.istate.manager.token import BaseStateToken
from reflex.state import State

import aisaas.aisaas  # noqa: F401 - the states of the app
from aisaas.ui.reflex_patches import tab_states
from aisaas.ui.reflex_patches.tab_states import KEPT_SECONDS, TabStates
from aisaas.ui.session import Session

STRANGER_BYTES = 32_768


class Clock:
    def __init__(self) -> None:
        self.now = time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(tab_states.time, "time", lambda: found.now)
    return found


@pytest.fixture
def connected() -> set[str]:
    return set()


@pytest_asyncio.fixture
async def states(connected: set[str]) -> AsyncGenerator[TabStates]:
    made = TabStates(connected=connected.__contains__)
    yield made
    await made.close()


def _token(name: str) -> BaseStateToken:
    return BaseStateToken(ident=name, cls=State)


async def _visit(states: TabStates, name: str, owner: str = "") -> None:
    async with states.modify_state(_token(name)) as state:
        session = await state.get_state(Session)
        session.owner = owner


def _look(states: TabStates) -> set[str]:
    states._purge_expired_tokens()  # pyright: ignore[reportPrivateUsage]
    return set(states.states)


async def test_a_stranger_who_says_nothing_is_forgotten_within_minutes(
    states: TabStates, connected: set[str], clock: Clock
) -> None:
    connected.add("stranger")
    await _visit(states, "stranger")
    clock.now += KEPT_SECONDS - 1
    assert _look(states) == {"stranger"}
    clock.now += 1
    assert _look(states) == set()
    assert not states._states_locks  # pyright: ignore[reportPrivateUsage]


async def test_a_signed_in_tab_is_kept_while_it_is_connected_and_a_moment_longer(
    states: TabStates, connected: set[str], clock: Clock
) -> None:
    connected.add("mine")
    await _visit(states, "mine", owner="me")
    for _ in range(100):
        clock.now += KEPT_SECONDS - 1
        assert _look(states) == {"mine"}
    connected.clear()
    clock.now += KEPT_SECONDS - 1
    assert _look(states) == {"mine"}
    clock.now += 1
    assert _look(states) == set()


async def test_tabs_that_have_gone_are_so_many_at_most_and_the_oldest_are_dropped(
    states: TabStates, connected: set[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_states, "MOST_GONE", 3)
    connected.update({"here", "there"})
    for name in ("here", "a", "b", "c", "there", "d"):
        await _visit(states, name, owner="me")
        clock.now += 1
    assert _look(states) == {"here", "there", "b", "c", "d"}


async def test_a_tab_is_forgotten_at_once_unless_a_handler_is_at_work(states: TabStates) -> None:
    await _visit(states, "stranger")
    async with states.modify_state(_token("stranger")):
        states.forget("stranger")
        assert "stranger" in states.states
    states.forget("stranger")
    states.forget("never there")
    assert not states.states


async def test_the_states_are_looked_at_without_being_asked(
    states: TabStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_states, "LOOK_SECONDS", 0.01)
    states.token_expiration = 0
    await _visit(states, "stranger")
    async with asyncio.timeout(20):
        while states.states:
            await asyncio.sleep(0.01)


async def test_a_strangers_state_is_small(states: TabStates) -> None:
    await _visit(states, "the first, which fills caches")
    tracemalloc.start()
    try:
        for number in range(20):
            await _visit(states, f"stranger {number}")
        size = tracemalloc.get_traced_memory()[0] / 20
    finally:
        tracemalloc.stop()
    assert size < STRANGER_BYTES
