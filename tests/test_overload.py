"""More is asked of a process than it can do: the rest is refused at once, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from aisaas import overload
from aisaas.db import engine
from aisaas.db.engine import DatabasePool, PipelinedQuery
from aisaas.errors import Overloaded, PoolExhausted, Unavailable
from aisaas.observe.outages import OUTAGES, Outages
from aisaas.overload import Bulkhead, as_overload
from devstack.stack import Stack


@pytest.fixture(autouse=True)
def nothing_away(monkeypatch: pytest.MonkeyPatch) -> Outages:
    """An outage of another test may not be over yet."""
    outages = Outages()
    monkeypatch.setattr(overload, "OUTAGES", outages)
    return outages


class Work:
    """Work in a bulkhead, each piece of which lasts until it is let go."""

    def __init__(self, places: int) -> None:
        self.bulkhead = Bulkhead("tests", places=places)
        self.begun: list[int] = []
        self._gates: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def comes(self, number: int) -> asyncio.Task[None]:
        gate = self._gates[number] = asyncio.Event()

        async def work() -> None:
            async with self.bulkhead.place():
                self.begun.append(number)
                await gate.wait()

        task = self.tasks[number] = asyncio.create_task(work())
        await settled()
        return task

    async def ends(self, number: int) -> None:
        self._gates[number].set()
        await self.tasks[number]
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_as_many_as_there_are_places_work_at_once_and_the_others_in_order() -> None:
    work = Work(places=2)
    for number in range(5):
        await work.comes(number)
    assert work.begun == [0, 1]
    await work.ends(1)
    assert work.begun == [0, 1, 2]
    await work.ends(0)
    await work.ends(2)
    assert work.begun == [0, 1, 2, 3, 4]
    await work.ends(3)
    await work.ends(4)


async def test_who_would_wait_too_long_is_refused_before_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bulkhead = Bulkhead("tests", places=2)
    for _ in range(2):
        await bulkhead.enter()
    # Each takes 20 s, so the first in the queue would wait 10 s, and the fourth 40 s.
    bulkhead.leave(20.0)
    await bulkhead.enter()
    monkeypatch.setattr(overload, "WAIT_SECONDS", 35.0)
    waiting = [asyncio.create_task(bulkhead.enter()) for _ in range(3)]
    await settled()
    with pytest.raises(Overloaded) as refused:
        await bulkhead.enter()
    assert refused.value.code == "busy"
    assert refused.value.retry_after == 40
    assert refused.value.retry_at is not None
    assert refused.value.retry_at > datetime.now(UTC)
    assert not any(task.done() for task in waiting)
    for _ in range(2):
        bulkhead.leave(20.0)
    await asyncio.gather(*waiting[:2])
    bulkhead.leave(20.0)
    await waiting[2]


async def test_who_would_be_refused_is_told_before_it_enters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bulkhead = Bulkhead("tests", places=1)
    await bulkhead.enter()
    bulkhead.leave(20.0)
    monkeypatch.setattr(overload, "WAIT_SECONDS", 10.0)
    bulkhead.check()
    await bulkhead.enter()
    with pytest.raises(Overloaded):
        bulkhead.check()
    bulkhead.leave(20.0)
    bulkhead.check()


async def test_who_has_waited_too_long_is_refused_and_leaves_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = Work(places=1)
    await work.comes(0)
    monkeypatch.setattr(overload, "WAIT_SECONDS", 0.01)
    with pytest.raises(Overloaded):
        await (await work.comes(1))
    monkeypatch.undo()
    await work.comes(2)
    await work.ends(0)
    assert work.begun == [0, 2]
    await work.ends(2)


async def test_place_of_who_went_away_is_not_lost() -> None:
    work = Work(places=1)
    for number in range(4):
        await work.comes(number)
    work.tasks[1].cancel()
    await settled()
    await work.ends(0)
    assert work.begun == [0, 2]
    # At the very moment in which it would get its turn.
    work.tasks[3].cancel()
    await work.ends(2)
    task = await work.comes(5)
    assert work.begun == [0, 2, 5]
    await work.ends(5)
    assert task.done()


async def test_a_burst_is_served_or_refused_and_afterwards_all_is_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bulkhead = Bulkhead("tests", places=4)
    # So the queue of a burst has about forty: what is served within this time.
    monkeypatch.setattr(overload, "WAIT_SECONDS", 0.2)
    at_once = most = 0

    async def work() -> str:
        nonlocal at_once, most
        try:
            async with bulkhead.place():
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0.02)
                at_once -= 1
        except Overloaded:
            return "refused"
        return "done"

    await asyncio.gather(*(work() for _ in range(4)))
    outcomes = await asyncio.gather(*(work() for _ in range(400)))
    assert set(outcomes) == {"done", "refused"}
    assert most == 4
    assert outcomes[:4] == ["done"] * 4
    assert await asyncio.gather(*(work() for _ in range(4))) == ["done"] * 4


async def test_places_that_an_outage_holds_are_no_overload(
    nothing_away: Outages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "WAIT_SECONDS", 0.01)
    nothing_away.failed("database", late=False)
    work = Work(places=1)
    await work.comes(0)
    with pytest.raises(Unavailable):
        await (await work.comes(1))
    await work.ends(0)


# Behind the door: connections of ours


@pytest_asyncio.fixture(loop_scope="session")
async def login(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[DatabasePool]:
    monkeypatch.setattr(engine, "POOL_WAIT_SECONDS", 0.05)
    made = DatabasePool(stack.env["DATABASE_URL"])
    yield made
    await made.close()


async def test_transactions_that_find_no_connection_are_no_outage(login: DatabasePool) -> None:
    failed = OUTAGES.is_away("database")
    async with AsyncExitStack() as held:
        for _ in range(engine.POOL_SIZE + engine.POOL_OVERFLOW):
            await held.enter_async_context(login.transaction("anon"))
        with pytest.raises(PoolExhausted) as refused:
            async with login.transaction("anon"):
                pass
        # Before one of those that are held succeeds, and says that the database answers.
        assert OUTAGES.is_away("database") == failed
    assert isinstance(as_overload(refused.value), Overloaded)
    async with login.transaction("anon"):
        pass


async def test_queries_that_find_no_connection_are_no_outage_and_the_database_is_ready(
    login: DatabasePool,
) -> None:
    slow: PipelinedQuery[None] = PipelinedQuery((("select pg_sleep(1)", {}),), lambda _: None)
    held = [asyncio.create_task(login.ask("anon", slow)) for _ in range(engine.ASKING_POOL_SIZE)]
    async with asyncio.timeout(30):
        while login.use()["asking"].in_use < engine.ASKING_POOL_SIZE:
            await asyncio.sleep(0.005)
    with pytest.raises(PoolExhausted):
        await login.ask("anon", slow)
    await login.reach("anon")
    await asyncio.gather(*held)
    await login.ask("anon", slow)


def test_what_a_pool_of_ours_caused_is_told_as_overload_and_an_outage_is_not() -> None:
    caused, outage = Unavailable(), Unavailable()
    caused.__cause__ = PoolExhausted("database")
    assert isinstance(as_overload(caused), Overloaded)
    assert as_overload(outage) is None
