"""Old rows go, a batch at a time; what still waits for someone, and what is young, stays."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count as counting
from uuid import UUID, uuid4

import pytest

from aisaas.admin.retention import BILLING_RULES, RULES
from aisaas.admin.retention import DAYS as PERIODS
from aisaas.billing.retention import ACCOUNTING, RECORDS
from aisaas.chat.retention import KEEP
from aisaas.db import purging
from aisaas.db.engine import DatabasePool
from aisaas.db.purging import Purge, PurgeFailed, Rule
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, TooSlow
from aisaas.jobs.purge_records import purge_once
from aisaas.observe.metrics import JOB_RUNS
from tests.services import Database
from tests.tenancy import rows
from tests.tenancy.rows import Person

Count = Callable[[str, str], int]

DAYS = {KEEP: 1, RECORDS: 90, ACCOUNTING: 400, **PERIODS}
_NAMES = counting()


@pytest.fixture
def purge(service: ServiceDatabase) -> Purge:
    return Purge(service, RULES, DAYS)


def _person(database: Database) -> UUID:
    person = uuid4()
    database("insert into auth.users (id, email) values (%s, %s)", person, f"{person}@example.com")
    return person


def _add(database: Database, table: str, **values: object) -> None:
    """A row; `age` days old where a value is `ago`."""
    columns = ", ".join(values)
    database(
        f"insert into {table} ({columns}) values ({', '.join(['%s'] * len(values))})",
        *values.values(),
    )


# What goes when, by the time that is in it -----------------------------------------------------------

# Table, columns of a row, the column that ages, its days, and what keeps it however old.
_AGING: list[tuple[str, dict[str, object], str, int, dict[str, object]]] = [
    ("public.processed_webhook_events", {"type": "t"}, "created_at", 90, {}),
    (
        "public.webhook_failures",
        {"type": "t", "last_error": "e"},
        "resolved_at",
        90,
        {"resolved_at": None},
    ),
    (
        "public.billing_notices",
        {"kind": "t", "state": "dead"},
        "created_at",
        90,
        {"state": "pending"},
    ),
    ("private.spending_alerts", {"state": "none"}, "created_at", 400, {"state": "pending"}),
    ("private.loss_alerts", {"state": "sent"}, "created_at", 400, {"state": "pending"}),
    ("private.provider_errors", {}, "day", 400, {}),
    (
        "public.meter_reconciliations",
        {"next_check_at": None},
        "day",
        400,
        {"meter_tokens": 5},
    ),
    ("private.sessions", {}, "expires_at", 7, {}),
    ("private.sessions", {}, "revoked_at", 7, {"revoked_at": None}),
    ("public.refusals", {}, "minute", 90, {}),
    ("public.entitlement_differences", {}, "corrected_at", 90, {"corrected_at": None}),
    (
        "public.reservations",
        {"state": "settled"},
        "closed_at",
        90,
        {"state": "open", "closed_at": None},
    ),
    ("public.quota_periods", {"period_start": "2000-01-01"}, "period_end", 400, {}),
]
_KEYS = {
    "public.processed_webhook_events": "id",
    "public.webhook_failures": "event_id",
    "public.billing_notices": "key",
    "private.spending_alerts": "id",
    "private.loss_alerts": "id",
    "private.provider_errors": "model",
    "public.meter_reconciliations": "stripe_customer_id",
    "private.sessions": "id",
    "public.refusals": "code",
    "public.entitlement_differences": "user_id",
    "public.reservations": "id",
    "public.quota_periods": "period_key",
}


@pytest.mark.parametrize(
    ("table", "columns", "since", "days", "waiting"),
    _AGING,
    ids=[f"{table}-{since}" for table, _, since, _, _ in _AGING],
)
async def test_rows_go_when_they_are_old_and_not_before(
    database: Database,
    purge: Purge,
    table: str,
    columns: dict[str, object],
    since: str,
    days: int,
    waiting: dict[str, object],
) -> None:
    def add(age: int, **more: object) -> str:
        person = Person(id=_person(database))
        if table == "public.reservations":
            period = {**rows.quota_period(person), "period_key": person.period}
            _add(database, "public.quota_periods", **period | {"period_end": "2999-01-01"})
        ((then,),) = database("select now() - make_interval(days => %s)", age)
        values = {**rows.ROWS[table](person), **columns, since: then, **more}
        if since == "revoked_at":
            values["expires_at"] = "2999-01-01"
        _add(database, table, **values)
        return str(values[_KEYS[table]])

    old, young = add(days + 1), add(days - 1)
    kept = [young] + ([add(10 * days, **waiting)] if waiting else [])
    removed = await purge.run()
    assert removed[table] >= 1
    key = _KEYS[table]
    left = database(f"select {key}::text from {table} where {key}::text = any(%s)", [old, *kept])
    assert {value for (value,) in left} == set(kept)


def test_every_rule_that_ages_rows_is_tried() -> None:
    aging = {rule.table for rule in RULES if rule.keep is not None}
    assert aging - {table for table, *_ in _AGING} == {"public.messages", "public.conversations"}


async def test_period_stays_as_long_as_a_call_refers_to_it(
    database: Database, purge: Purge, count: Count
) -> None:
    person = Person(id=_person(database))
    period = {**rows.quota_period(person), "period_key": person.period}
    _add(
        database,
        "public.quota_periods",
        **period | {"period_start": "2000-01-01", "period_end": "2000-02-01"},
    )
    call = rows.reservation(person)
    _add(database, "public.reservations", **{**call, "state": "open", "closed_at": None})
    await purge.run()
    assert count("quota_periods", f"user_id = '{person.id}'") == 1
    database(
        "update reservations set state = 'settled', closed_at = now() - interval '91 days'"
        " where user_id = %s",
        person.id,
    )
    await purge.run()
    assert count("quota_periods", f"user_id = '{person.id}'") == 0


# Conversations and accounts --------------------------------------------------------------------------


def _conversation(database: Database, person: UUID, messages: int) -> UUID:
    """Questions and their answers; some were asked for several answers."""
    conversation = uuid4()
    database(
        "insert into conversations (id, user_id, model) values (%s, %s, 'demo')",
        conversation,
        person,
    )
    database(
        """
        with ids as (
          select n, gen_random_uuid() as id from generate_series(1, %s) n
        )
        insert into messages (id, conversation_id, user_id, role, content, reply_to, created_at)
        select i.id, %s, %s, case when i.n %% 3 = 1 then 'user' else 'assistant' end, 'text',
          case when i.n %% 3 <> 1 then q.id end, now() + i.n * interval '1 second'
        from ids i left join ids q on q.n = i.n - (i.n - 1) %% 3
        """,
        messages,
        conversation,
        person,
    )
    return conversation


def _delete(database: Database, conversation: UUID, days: int) -> None:
    database(
        "update conversations set deleted_at = now() - make_interval(days => %s) where id = %s",
        days,
        conversation,
    )


async def test_deleted_conversation_goes_with_all_its_messages_when_its_time_is_over(
    database: Database, purge: Purge, count: Count
) -> None:
    person = _person(database)
    old, young, live = (_conversation(database, person, 7) for _ in range(3))
    _delete(database, old, 2)
    _delete(database, young, 0)
    await purge.run()
    left = {row[0] for row in database("select id from conversations where user_id = %s", person)}
    assert left == {young, live}
    assert count("messages", f"user_id = '{person}'") == 14


@pytest.fixture
def batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Of small batches: the table, and how many rows a statement really removed, cascades included."""
    monkeypatch.setattr(purging, "BATCH", 10)
    removed: list[tuple[str, int]] = []
    follow = Purge._remove  # pyright: ignore[reportPrivateUsage]

    async def noted(self: Purge, rule: Rule, batch: int) -> int:
        ((before,),) = database("select count(*) from messages")
        found = await follow(self, rule, batch)
        ((after,),) = database("select count(*) from messages")
        assert isinstance(before, int)
        assert isinstance(after, int)
        removed.append((rule.table, before - after))
        return found

    monkeypatch.setattr(Purge, "_remove", noted)
    return removed


async def test_no_batch_takes_more_rows_along_than_it_has(
    database: Database, purge: Purge, batches: list[tuple[str, int]], count: Count
) -> None:
    person = _person(database)
    conversation = _conversation(database, person, 100)
    _delete(database, conversation, 2)
    await purge.run()
    assert count("conversations", f"id = '{conversation}'") == 0
    # Ten of ten, and no conversation or question that takes others with it.
    assert [rows for table, rows in batches if rows] == [10] * 10
    assert {table for table, rows in batches if rows} == {"public.messages"}


async def test_what_was_interrupted_goes_on_where_it_was(
    database: Database, purge: Purge, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    monkeypatch.setattr(purging, "BATCH", 10)
    conversation = _conversation(database, _person(database), 100)
    _delete(database, conversation, 2)
    follow, calls = Purge._remove, counting()  # pyright: ignore[reportPrivateUsage]

    async def dies(self: Purge, rule: Rule, batch: int) -> int:
        if next(calls) == 3:
            raise DependencyError("database")
        return await follow(self, rule, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Purge, "_remove", dies)
        with pytest.raises(DependencyError):
            await purge.run()
    assert count("messages", f"conversation_id = '{conversation}'") == 70
    await purge.run()
    assert count("messages", f"conversation_id = '{conversation}'") == 0
    assert count("conversations", f"id = '{conversation}'") == 0


async def test_deleting_an_account_waits_for_none_of_its_history(
    database: Database, purge: Purge, count: Count
) -> None:
    person, other = _person(database), _person(database)
    _conversation(database, person, 40)
    _conversation(database, other, 4)
    for user in (person, other):
        refused = rows.ROWS["public.refusals"](Person(id=user))
        _add(database, "public.refusals", **{**refused, "minute": "2999-01-01"})
    database("delete from auth.users where id = %s", person)
    assert count("profiles", f"id = '{person}'") == 0
    # Noted, and left to the job.
    assert count("messages", f"user_id = '{person}'") == 40
    assert count("private.removed_accounts", f"user_id = '{person}'") == 1
    await purge.run()
    for table in ("messages", "conversations", "refusals", "private.removed_accounts"):
        assert count(table, f"user_id = '{person}'") == 0, table
    assert count("messages", f"user_id = '{other}'") == 4
    assert count("refusals", f"user_id = '{other}'") == 1


async def test_nobody_begins_a_conversation_for_an_account_that_is_gone(database: Database) -> None:
    person = _person(database)
    database("delete from auth.users where id = %s", person)
    with pytest.raises(Exception, match="no such profile"):
        _conversation(database, person, 1)


# When something is in the way ------------------------------------------------------------------------


async def test_one_table_that_can_not_be_purged_stops_no_other(
    database: Database, service: ServiceDatabase
) -> None:
    _add(database, "public.processed_webhook_events", id="evt_x", type="t", created_at="2000-01-01")
    broken = Rule("public.messages", "select ctid from public.messages where 1 / 0 = :batch")
    with pytest.raises(PurgeFailed) as caught:
        await Purge(service, (broken, *BILLING_RULES), DAYS).run()
    assert caught.value.tables == ("public.messages",)
    assert database("select 1 from processed_webhook_events where id = 'evt_x'") == []


async def test_batch_that_takes_too_long_is_tried_with_fewer_rows(
    database: Database, purge: Purge, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    conversation = _conversation(database, _person(database), 12)
    _delete(database, conversation, 2)
    tried: list[int] = []
    follow = Purge._remove  # pyright: ignore[reportPrivateUsage]

    async def slow(self: Purge, rule: Rule, batch: int) -> int:
        if rule.table == "public.messages":
            tried.append(batch)
            if batch > 4:
                raise TooSlow
        return await follow(self, rule, batch)

    monkeypatch.setattr(Purge, "_remove", slow)
    await purge.run()
    assert tried[:5] == [2000, 250, 31, 3, 3]
    assert count("messages", f"conversation_id = '{conversation}'") == 0


async def test_rows_that_someone_holds_are_left_for_later(
    database: Database, purge: Purge, service: ServiceDatabase
) -> None:
    _add(database, "public.processed_webhook_events", id="evt_h", type="t", created_at="2000-01-01")
    held = "select 1 from public.processed_webhook_events where id = 'evt_h' for update"
    async with service.transaction() as session:
        await (await session.connection()).exec_driver_sql(held)
        await purge.run()
        assert database("select 1 from processed_webhook_events where id = 'evt_h'") == [(1,)]
    await purge.run()
    assert database("select 1 from processed_webhook_events where id = 'evt_h'") == []


async def test_job_notes_a_round_that_failed_and_one_that_succeeded(
    service: ServiceDatabase, purge: Purge
) -> None:
    def runs(result: str) -> float:
        return JOB_RUNS.labels("purge_records", result)._value.get()  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]

    done, failed = runs("done"), runs("failed")
    await purge_once(purge)
    assert (runs("done"), runs("failed")) == (done + 1, failed)
    broken = Rule("public.messages", "select ctid from public.nothing limit :batch")
    await purge_once(Purge(service, (broken,), DAYS))
    nobody = DatabasePool("postgresql://nobody@127.0.0.1:1/nothing")
    await purge_once(Purge(ServiceDatabase(nobody), RULES, DAYS))
    assert (runs("done"), runs("failed")) == (done + 1, failed + 2)
