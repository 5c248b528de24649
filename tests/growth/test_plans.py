"""No page, figure or job reads a whole table that grows: the planner has an index for each question."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, text

from aisaas.accounts.people_models import Search, Sort
from aisaas.admin.audit import PAGE_ENTRIES
from aisaas.db.engine import DatabasePool, PipelinedQuery, Role
from aisaas.db.grants import TABLES
from aisaas.wiring import Services
from benchmarks.growth import pages, sign_in

# A handful of rows each, however long the product runs; or two a day.
SMALL = {
    "added_models",
    "alembic_version",
    "job_failures",
    "kill_switches",
    "loss_alerts",
    "metering",
    "model_overrides",
    "provider_circuits",
    "provider_errors",
    "removed_accounts",
    "spend_days",
    "spending_alerts",
    "spending_caps",
    "usage_totals",
}
# Sums over a span that may be most of a table: then reading the table is the quickest way to the sum.
SUMS = {
    "from public.subscriptions where plan = any(": "what base prices earned, of all that were paid",
    "from public.refusals where minute >= ": "refusals are kept 90 days, and the span may be longer",
}
Plan = Mapping[str, Any]


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


def _whole(plan: Plan) -> set[str]:
    """The tables that a plan reads from one end to the other."""
    return {
        str(node["Relation Name"])
        for node in _nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] not in SMALL
    }


class Watch:
    """The plan of each statement, as it is about to run with its values."""

    def __init__(self, url: str) -> None:
        self.plans: list[tuple[str, Plan]] = []
        self._url = url

    def note(self, statement: str, found: object) -> None:
        plan = json.loads(found) if isinstance(found, str) else found
        assert isinstance(plan, list)
        self.plans.append((" ".join(statement.split()), plan[0]["Plan"]))

    def in_session(
        self, connection: Connection, _: object, statement: str, parameters: Any, *__: object
    ) -> None:
        if not statement.lstrip().lower().startswith(("select", "with", "update", "delete", "(")):
            return
        if "set_config" in statement:
            return
        cursor = connection.connection.cursor()
        cursor.execute(f"explain (format json) {statement}", parameters)
        (row,) = cursor.fetchall()
        self.note(statement, row[0])

    def in_one_round_trip(self, question: PipelinedQuery[Any]) -> None:
        with psycopg.connect(self._url) as connection:
            for query, parameters in question.statements:
                row = connection.execute(
                    b"explain (format json) " + query.encode(), parameters
                ).fetchone()
                assert row is not None
                self.note(query, row[0])


@pytest.fixture
def watch(grown_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Watch]:
    watch = Watch(grown_url)
    ask = DatabasePool.ask

    async def watched(
        self: DatabasePool, role: Role, question: PipelinedQuery[Any], **how: Any
    ) -> object:
        watch.in_one_round_trip(question)
        return await ask(self, role, question, **how)

    monkeypatch.setattr(DatabasePool, "ask", watched)
    with _listening(watch):
        yield watch


@contextmanager
def _listening(watch: Watch) -> Generator[None]:
    event.listen(Engine, "before_cursor_execute", watch.in_session)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", watch.in_session)


async def test_every_question_of_every_page_is_answered_by_indexes(
    grown: Services, grown_url: str, watch: Watch
) -> None:
    person = await sign_in(grown, grown_url)
    reading: dict[str, set[str]] = {}
    for name, page in pages(grown, person).items():
        watch.plans.clear()
        await page()
        assert watch.plans, f"{name} asked nothing"
        for statement, plan in watch.plans:
            if (whole := _whole(plan)) and not any(sum_ in statement for sum_ in SUMS):
                reading[f"{name}: {statement[:300]}"] = whole
    assert reading == {}


async def test_purges_are_answered_by_indexes(grown: Services, watch: Watch) -> None:
    removed = await grown.purge.run()
    assert removed["public.messages"] == 3000
    assert removed["private.sessions"] > 0
    reading = {statement[:300]: whole for statement, plan in watch.plans if (whole := _whole(plan))}
    assert reading == {}


async def test_a_question_without_an_index_would_be_noticed(grown: Services, watch: Watch) -> None:
    async with grown.purge._service.transaction() as session:  # pyright: ignore[reportPrivateUsage]
        await session.execute(
            text("select count(*) from public.messages where content like '%nothing%'")
        )
    assert [_whole(plan) for _, plan in watch.plans] == [{"messages"}]


def test_small_tables_are_tables() -> None:
    assert {table.split(".")[1] for table in TABLES} > SMALL


async def test_audit_search_that_fits_every_account_says_that_it_is_too_wide(
    grown: Services, grown_url: str
) -> None:
    person = await sign_in(grown, grown_url)
    wide = await grown.audit.page(person, search="@example.com")
    assert wide.narrow
    assert len(wide.entries) == PAGE_ENTRIES
    assert wide.older
    one = await grown.audit.page(person, search="user-4321@")
    assert not one.narrow
    (subject,) = {entry.subject for entry in one.entries}
    assert one.names[UUID(subject.removeprefix("user:"))] == "user-4321@example.com"


async def test_every_user_is_on_one_page_of_a_list_whatever_orders_it(
    grown: Services, grown_url: str
) -> None:
    """Those who have what it is ordered by, and behind them those who have not."""
    person = await sign_in(grown, grown_url)
    for sort in get_args(Sort):
        for down in (True, False):
            seen: list[UUID] = []
            for number in range(1, 6):
                found = await grown.users.find(
                    person, Search(text="user-12", sort=sort, down=down, page=number)
                )
                assert (found.page, found.pages, found.total) == (number, 5, 111)
                seen += [each.id for each in found.users]
            assert len(seen) == len(set(seen)) == 111, (sort, down)


async def test_drift_that_was_settled_is_not_in_the_figures(
    grown: Services, grown_url: str
) -> None:
    with psycopg.connect(grown_url, autocommit=True) as connection:
        connection.execute("update meter_reconciliations set settled_tokens = drift")
        connection.execute(
            "insert into meter_reconciliations (stripe_customer_id, day, ledger_tokens, meter_tokens,"
            " settled_tokens) values ('cus_drift_a', '2020-01-01', 100, 60, -30),"
            " ('cus_drift_b', '2020-01-01', 100, 105, 0), ('cus_drift_c', '2020-01-01', 100, 60, -40)"
        )
    assert (await grown.figures.read()).meter_drift_tokens == 10 + 5
