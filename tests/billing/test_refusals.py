"""Refusals are counted at once and written a little later, whatever the database does meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from aisaas.billing.ledger import store as ledger_store
from aisaas.billing.plans.models import Limits
from aisaas.billing.reservations import refusals as module
from aisaas.billing.reservations.refusals import Refusals
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError
from aisaas.jobs import record_refusals as job
from devstack.stack import Stack
from tests.billing.conftest import Billing, Sql
from tests.parts import answered, outage


@pytest.fixture
def account(sql: Sql) -> UUID:
    """Someone with an account: nobody else has refusals."""
    user_id = uuid4()
    sql("insert into auth.users (id, email) values (%s, %s)", user_id, f"{user_id}@example.com")
    return user_id


@dataclass
class Clock:
    """The clock by which refusals are grouped; nothing is decided by it."""

    now: float = 1000 * module.MINUTE

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def _stored(sql: Sql, user_id: UUID) -> list[tuple[object, ...]]:
    return sql(
        "select code, sum(times)::int, (array_agg(model order by minute desc))[1] from refusals"
        " where user_id = %s group by code order by code",
        user_id,
    )


async def test_refusals_of_several_processes_add_up_in_one_row_a_minute(
    billing: Billing, account: UUID, sql: Sql
) -> None:
    processes = [Refusals(billing.service) for _ in range(8)]
    for process in processes:
        for _ in range(3):
            process.record(account, "busy", "demo")
        process.record(account, "not_found", None)
    await asyncio.gather(*(process.flush() for process in processes))
    assert _stored(sql, account) == [("busy", 24, "demo"), ("not_found", 8, None)]
    # Two, if the minute ended in between.
    assert len(sql("select 1 from refusals where user_id = %s and code = 'busy'", account)) <= 2
    assert [await process.flush() for process in processes] == [0] * 8


async def test_refusal_is_dated_when_it_happened_by_the_databases_clock(
    billing: Billing, account: UUID, sql: Sql, clock: Clock
) -> None:
    refusals = Refusals(billing.service)
    for model in ("first", "last"):
        refusals.record(account, "busy", model)
    clock.now += 10 * module.MINUTE
    refusals.record(account, "busy", "later")
    await refusals.flush()
    assert sql(
        "select round(extract(epoch from date_trunc('minute', now()) - minute) / 600)::int, times,"
        " model from refusals where user_id = %s order by minute",
        account,
    ) == [(1, 2, "last"), (0, 1, "later")]


async def test_refusal_of_an_account_that_is_gone_keeps_no_other_from_being_written(
    billing: Billing, account: UUID, sql: Sql
) -> None:
    refusals, gone = Refusals(billing.service), uuid4()
    refusals.record(gone, "busy", None)
    refusals.record(account, "busy", None)
    await refusals.flush()
    assert _stored(sql, gone) == []
    assert _stored(sql, account) == [("busy", 1, None)]


async def test_bound_drops_the_oldest_and_says_how_many(
    billing: Billing, account: UUID, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(billing.service, buffered=3)
    refusals.record(account, "code-0", None)
    for n in range(5):
        refusals.record(account, f"code-{n}", None)
    with caplog.at_level(logging.WARNING):
        await refusals.flush()
        await refusals.flush()
    assert [row[0] for row in _stored(sql, account)] == ["code-2", "code-3", "code-4"]
    # That an outage of an earlier test is over may be said here, too.
    said = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert said == ["3 refusals were not recorded: too many to keep"]


async def test_page_groups_refusals_by_reason_and_day_newest_first(
    billing: Billing, account: UUID, sql: Sql
) -> None:
    sql(
        "insert into refusals (user_id, code, minute, times, model) select %s, code,"
        " date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - minutes * interval"
        " '1 minute', times, model from (values ('busy', 10, 2, 'old'), ('busy', 5, 3, 'new'),"
        " ('not_found', 7, 1, null), ('busy', 3000, 1, 'old'), ('busy', 60000, 9, 'old'))"
        " r (code, minutes, times, model)",
        account,
    )
    async with billing.user.as_user(account) as session:
        found = (await ledger_store.overview(session, account, None, Limits(1000))).refused
    assert [(each.code, each.times, each.model) for each in found] == [
        ("busy", 5, "new"),
        ("not_found", 1, None),
        ("busy", 1, "old"),
    ]


# The job


@asynccontextmanager
async def _running(refusals: Refusals, every: float) -> AsyncGenerator[None]:
    task = asyncio.create_task(job.record_refusals(refusals, every=every))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest_asyncio.fixture(loop_scope="session")
async def spare(spare_stack: Stack) -> AsyncGenerator[ServiceDatabase]:
    login = DatabasePool(spare_stack.env["SERVICE_DATABASE_URL"])
    yield ServiceDatabase(login)
    await login.close()


async def test_outage_delays_the_recording_and_loses_nothing(
    spare_stack: Stack, spare: ServiceDatabase
) -> None:
    refusals, user_id = Refusals(spare), uuid4()

    def owner(statement: str, *args: object) -> list[tuple[object, ...]]:
        url = spare_stack.env["MIGRATION_DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement, args)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

    owner("insert into auth.users (id, email) values (%s, %s)", user_id, f"{user_id}@example.com")
    async with _running(refusals, every=0.05):
        with outage(spare_stack, "postgres", "stopped"):
            refusals.record(user_id, "unavailable", "demo")
            refusals.record(user_id, "unavailable", "demo")
            with pytest.raises(DependencyError):
                await refusals.flush()
            refusals.record(user_id, "busy", "demo")
        async with asyncio.timeout(60):
            while len(found := _stored(owner, user_id)) < 2:
                await asyncio.sleep(0.05)
        # While the job runs: counts are kept if it is canceled before its commit is answered.
        assert found == [("busy", 1, "demo"), ("unavailable", 2, "demo")]
        assert await answered(refusals.flush) == 0


async def test_last_refusals_are_written_when_the_process_ends(
    billing: Billing, account: UUID, sql: Sql
) -> None:
    refusals = Refusals(billing.service)
    async with _running(refusals, every=3600):
        await asyncio.sleep(0)
        refusals.record(account, "busy", "demo")
    await job.record_the_last(refusals)
    assert _stored(sql, account) == [("busy", 1, "demo")]
