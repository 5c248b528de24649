"""Old records go, a batch at a time; what still waits for somebody, and what is young, stays."""

from __future__ import annotations

from uuid import uuid4

import pytest

from aisaas.billing import retention as module
from aisaas.billing.retention import KEPT_DAYS, Retention
from aisaas.embedded.stack import Stack
from aisaas.errors import DependencyError
from tests.billing.conftest import Billing, Sql
from tests.parts import answered, outage

OLD, YOUNG = KEPT_DAYS + 1, KEPT_DAYS - 1


@pytest.fixture
def retention(billing: Billing) -> Retention:
    return Retention(billing.service)


def _event(sql: Sql, days: int) -> str:
    event = f"evt_{uuid4().hex}"
    sql(
        "insert into processed_webhook_events (id, type, created_at)"
        " values (%s, 'invoice.paid', now() - make_interval(days => %s))",
        event,
        days,
    )
    return event


def _failure(sql: Sql, days: int, *, resolved: bool) -> str:
    event = f"evt_{uuid4().hex}"
    sql(
        "insert into webhook_failures (event_id, type, last_error, first_at, last_at, resolved_at)"
        " select %s, 'invoice.paid', 'database', at, at, case when %s then at end"
        " from (select now() - make_interval(days => %s) as at) of_then",
        event,
        resolved,
        days,
    )
    return event


def _notice(sql: Sql, days: int, state: str) -> str:
    key = f"payment_failed:{uuid4().hex}"
    sql(
        "insert into billing_notices (kind, key, state, sent_at, created_at)"
        " select 'payment_failed', %s, %s::text, case when %s::text = 'sent' then at end, at"
        " from (select now() - make_interval(days => %s) as at) of_then",
        key,
        state,
        state,
        days,
    )
    return key


def _difference(sql: Sql, days: int, *, corrected: bool) -> str:
    user = uuid4()
    sql("insert into auth.users (id, email) values (%s, %s)", user, f"{user}@example.com")
    sql(
        "insert into entitlement_differences"
        " (user_id, ours, theirs, found_by, found_at, corrected_at)"
        " select %s, '{}', '{}', 'tests', at, case when %s then at end"
        " from (select now() - make_interval(days => %s) as at) of_then",
        user,
        corrected,
        days,
    )
    return str(user)


def _left(sql: Sql, table: str, column: str, *values: str) -> set[object]:
    rows = sql(f"select {column}::text from {table} where {column}::text = any(%s)", list(values))
    return {value for (value,) in rows}


async def test_what_is_over_goes_when_it_is_old(sql: Sql, retention: Retention) -> None:
    events = _event(sql, OLD), _event(sql, YOUNG)
    failures = _failure(sql, OLD, resolved=True), _failure(sql, YOUNG, resolved=True)
    notices = _notice(sql, OLD, "sent"), _notice(sql, OLD, "dead"), _notice(sql, YOUNG, "sent")
    people = _difference(sql, OLD, corrected=True), _difference(sql, YOUNG, corrected=True)
    assert await retention.purge() >= 5
    assert _left(sql, "processed_webhook_events", "id", *events) == {events[-1]}
    assert _left(sql, "webhook_failures", "event_id", *failures) == {failures[-1]}
    assert _left(sql, "billing_notices", "key", *notices) == {notices[-1]}
    assert _left(sql, "entitlement_differences", "user_id", *people) == {people[-1]}
    assert await retention.purge() == 0


async def test_what_waits_for_somebody_stays_however_old(sql: Sql, retention: Retention) -> None:
    failure = _failure(sql, 10 * OLD, resolved=False)
    notice = _notice(sql, 10 * OLD, "pending")
    person = _difference(sql, 10 * OLD, corrected=False)
    await retention.purge()
    assert _left(sql, "webhook_failures", "event_id", failure) == {failure}
    assert _left(sql, "billing_notices", "key", notice) == {notice}
    assert _left(sql, "entitlement_differences", "user_id", person) == {person}


async def test_more_than_a_batch_goes_all_the_same(
    sql: Sql, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    events = [_event(sql, OLD) for _ in range(5)]
    await retention.purge()
    assert _left(sql, "processed_webhook_events", "id", *events) == set()


async def test_without_the_database_it_goes_later(
    sql: Sql, retention: Retention, stack: Stack
) -> None:
    event = _event(sql, OLD)
    with outage(stack, "postgres", "stopped"), pytest.raises(DependencyError):
        await retention.purge()
    assert _left(sql, "processed_webhook_events", "id", event) == {event}
    await answered(retention.purge)
    assert _left(sql, "processed_webhook_events", "id", event) == set()
