"""Pages meet without a gap or an overlap, whatever is added at the top meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import text

from aisaas.db.engine import DatabasePool
from aisaas.db.paging import Cursor, Keyset, first, pages_of
from aisaas.db.service import ServiceDatabase
from devstack.stack import Stack

NOON = datetime(2031, 5, 4, 12, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def service(stack: Stack) -> AsyncGenerator[ServiceDatabase]:
    login = DatabasePool(stack.env["SERVICE_DATABASE_URL"])
    yield ServiceDatabase(login)
    await login.close()


@dataclass(frozen=True, slots=True)
class Row:
    at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Day:
    at: date
    id: str


ROWS: Keyset[Row, datetime, str] = Keyset(
    "v.at", "v.id", lambda row: Cursor(row.at, row.id), ("timestamptz", "text")
)
DAYS: Keyset[Day, date, str] = Keyset(
    "v.at", "v.id", lambda row: Cursor(row.at, row.id), ("date", "text"), ids_up=True
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
async def test_every_row_is_on_one_page(service: ServiceDatabase, size: int) -> None:
    # Three at one time, so that only their ids keep them apart.
    rows = [(NOON - timedelta(minutes=minute // 3), f"{minute:02}") for minute in range(7)]
    seen: list[Row] = []
    before: Cursor[datetime, str] | None = None
    while True:
        async with service.transaction() as session:
            found = await session.execute(
                text(
                    "select v.at, v.id from unnest(cast(:ats as timestamptz[]), cast(:ids as text[]))"  # fragments of ours
                    f" v (at, id) where {ROWS.behind} {ROWS.page}"
                ),
                {
                    "ats": [at for at, _ in rows],
                    "ids": [id_ for _, id_ in rows],
                    **ROWS.values(before, size),
                },
            )
            page = ROWS.cut([Row(**row) for row in found.mappings()], size)
        seen += page.found
        assert page.end == Cursor(seen[-1].at, seen[-1].id)
        if not page.older:
            break
        before = page.end
        rows.insert(0, (NOON + timedelta(minutes=len(rows)), "new"))
    assert [(row.at, row.id) for row in seen] == sorted(
        [(at, id_) for at, id_ in rows if id_ != "new"], reverse=True
    )


async def test_ids_of_one_day_may_go_up(service: ServiceDatabase) -> None:
    seen: list[tuple[date, str]] = []
    before: Cursor[date, str] | None = Cursor(date(2031, 5, 4), "")
    while before is not None:
        async with service.transaction() as session:
            found = await session.execute(
                text(
                    "select v.at, v.id from (values (date '2031-05-05', 'a'), ('2031-05-04', 'a'),"
                    f" ('2031-05-04', 'b'), ('2031-05-03', 'a')) v (at, id) where {DAYS.behind}"
                    f" {DAYS.page}"
                ),
                DAYS.values(before, 2),
            )
            page = DAYS.cut([Day(**row) for row in found.mappings()], 2)
        seen += [(row.at, row.id) for row in page.found]
        before = page.end if page.older else None
    assert seen == [(date(2031, 5, 4), "a"), (date(2031, 5, 4), "b"), (date(2031, 5, 3), "a")]


def test_a_page_without_rows_ends_nowhere() -> None:
    page = ROWS.cut([], 2)
    assert (page.found, page.end, page.older) == ([], None, False)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([], ([], False)), ([1, 2], ([1, 2], False)), ([1, 2, 3], ([1, 2], True))],
)
def test_one_row_more_tells_whether_there_are_others(
    rows: list[int], expected: tuple[list[int], bool]
) -> None:
    assert first(rows, 2) == expected


@pytest.mark.parametrize(("total", "pages"), [(0, 1), (1, 1), (25, 1), (26, 2), (50, 2), (51, 3)])
def test_an_empty_list_has_a_page(total: int, pages: int) -> None:
    assert pages_of(total, 25) == pages
