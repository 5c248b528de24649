"""Two kinds of errors: the database is away, or it answers and canceled the statement."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import LiteralString, cast

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, ProgrammingError

from aisaas.db import engine
from aisaas.db.engine import DatabasePool, PipelinedQuery
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, TooSlow
from devstack.stack import Stack
from tests.parts import Outage, answered, outage

Ask = Callable[[ServiceDatabase], Awaitable[object]]


@pytest_asyncio.fixture(loop_scope="session")
async def service(spare_stack: Stack) -> AsyncGenerator[ServiceDatabase]:
    login = DatabasePool(spare_stack.env["SERVICE_DATABASE_URL"])
    yield ServiceDatabase(login)
    await login.close()


async def _sleep_in_transaction(service: ServiceDatabase) -> None:
    async with service.transaction() as session:
        await session.execute(text("select pg_sleep(60)"))


async def _sleep_in_one_round_trip(service: ServiceDatabase) -> None:
    await service.ask(PipelinedQuery((("select pg_sleep(60)", {}),), lambda _: None))


async def _one(service: ServiceDatabase) -> int:
    async with service.transaction() as session:
        return int((await session.execute(text("select 1"))).scalar_one())


@pytest.mark.parametrize("slow", [_sleep_in_transaction, _sleep_in_one_round_trip])
async def test_a_statement_canceled_by_our_own_timeout_is_no_outage(
    service: ServiceDatabase,
    slow: Ask,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(engine, "STATEMENT_SECONDS", 0.2)
    monkeypatch.setattr(engine, "ASKED_STATEMENT_SECONDS", 0.2)
    with caplog.at_level(logging.ERROR), pytest.raises(TooSlow):
        await slow(service)
    (line,) = [record for record in caplog.records if record.name == "aisaas.db.engine"]
    assert line.levelno == logging.ERROR
    assert "57014" in line.getMessage()
    assert await _one(service) == 1


async def test_a_block_of_ours_that_takes_too_long_is_no_outage(
    service: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRANSACTION_SECONDS", 0.3)

    async def dawdle() -> None:
        async with service.transaction() as session:
            await session.execute(text("select 1"))
            await asyncio.sleep(60)

    with pytest.raises(TooSlow):
        await dawdle()


async def test_a_process_that_hangs_within_a_transaction_loses_its_locks(
    service: ServiceDatabase, spare_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "IDLE_SECONDS", 0.5)
    lock = text("select pg_advisory_xact_lock(83)")
    locked, goes_on = threading.Event(), threading.Event()

    async def hang() -> None:
        login = DatabasePool(spare_stack.env["SERVICE_DATABASE_URL"])
        try:
            async with ServiceDatabase(login).transaction() as session:
                await session.execute(lock)
                locked.set()
                # Its whole event loop stands still.
                goes_on.wait()
                await session.execute(text("select 1"))
        finally:
            await login.close()

    hanging = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(hang())))
    try:
        await asyncio.to_thread(locked.wait)
        async with service.transaction() as session:
            await session.execute(lock)
    finally:
        goes_on.set()
    with pytest.raises(TooSlow):
        await hanging


async def test_two_that_block_each_other_are_no_outage(
    service: ServiceDatabase, spare_stack: Stack
) -> None:
    first, second = (text(f"select pg_advisory_xact_lock({n})") for n in (81, 82))
    with psycopg.connect(spare_stack.env["MIGRATION_DATABASE_URL"]) as other:
        other.execute("select pg_advisory_xact_lock(81)")

        async def both() -> None:
            async with service.transaction() as session:
                await session.execute(second)
                waiting = asyncio.create_task(asyncio.to_thread(_lock_too, other))
                await session.execute(first)
                await waiting

        with pytest.raises((TooSlow, psycopg.errors.DeadlockDetected)) as caught:
            await both()
    assert not isinstance(caught.value, DependencyError)


def _lock_too(other: psycopg.Connection) -> None:
    other.execute("select pg_advisory_xact_lock(82)")


@pytest.mark.parametrize(
    ("statement", "raised"),
    [("select 1 / 0", DataError), ("select nothing from nowhere", ProgrammingError)],
)
async def test_a_statement_that_is_wrong_raises_what_it_is(
    service: ServiceDatabase, statement: str, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        async with service.transaction() as session:
            await session.execute(text(statement))
    assert await _one(service) == 1


async def test_more_parameters_than_the_protocol_has_are_no_outage(
    service: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Composing it takes a while on a busy machine.
    for patience in ("ASK_SECONDS", "TRANSACTION_SECONDS"):
        monkeypatch.setattr(engine, patience, 60.0)
    values = {f"p{n}": n for n in range(65_536)}
    query = cast("LiteralString", f"select 1 where 1 in ({', '.join(f'%({p})s' for p in values)})")
    with pytest.raises(DBAPIError):
        async with service.transaction() as session:
            await (await session.connection()).exec_driver_sql(query, values)
    with pytest.raises(psycopg.OperationalError):
        await service.ask(PipelinedQuery(((query, values),), lambda _: None))
    assert await _one(service) == 1


@pytest.mark.parametrize("kind", ["stopped", "paused"])
@pytest.mark.parametrize("ask", [_sleep_in_transaction, _sleep_in_one_round_trip])
async def test_a_database_that_does_not_answer_is_an_outage(
    service: ServiceDatabase, spare_stack: Stack, ask: Ask, kind: Outage
) -> None:
    await answered(lambda: _one(service))
    with outage(spare_stack, "postgres", kind), pytest.raises(DependencyError):
        await ask(service)
    await answered(lambda: _one(service))


async def test_a_connection_that_is_ended_from_outside_is_an_outage(
    service: ServiceDatabase,
) -> None:
    async def ended() -> None:
        async with service.transaction() as session:
            await session.execute(text("set local role none"))
            await session.execute(text("select pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DependencyError):
        await ended()
    assert await answered(lambda: _one(service)) == 1


async def test_a_server_that_only_reads_is_an_outage(service: ServiceDatabase) -> None:
    """As after a failover, or on a full disk at a hosted database."""

    async def write() -> None:
        async with service.transaction() as session:
            await session.execute(text("set transaction read only"))
            await session.execute(text("delete from private.spending_caps where scope = 'none'"))

    with pytest.raises(DependencyError):
        await write()
    assert await _one(service) == 1
