"""Everybody tries everything on Ada's rows, for real, through the transactions requests use."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import pytest
from sqlalchemy import CursorResult, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.db.grants import CELLS, VERBS, WHO, Expected, columns
from tests.tenancy import rows
from tests.tenancy.conftest import Cast, Catalog, TableFacts

DATABASE_ROLES = {
    "anonymous": "anon",
    "stranger": "authenticated",
    "owner": "authenticated",
    "service": "service_role",
}

Statement = tuple[str, Mapping[str, object]]


class _UndoneError(Exception):
    """Rolls an attempt back, so that the next one finds what this one found."""


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("who", WHO)
async def test_each_verb_on_each_table_does_what_is_expected(
    who: str, verb: str, cast: Cast, catalog: Catalog
) -> None:
    surprises: list[str] = []
    for table in catalog.values():
        expected = CELLS.get((table.name, who, verb))
        if expected is None:
            surprises.append(f"{table.name}: no expectation")
            continue
        wanted = "refused" if expected.refused else f"{expected.rows} rows"
        statement = _statement(expected, table, cast)
        outcome = await _attempt(cast, who, statement)
        if outcome != wanted:
            surprises.append(f"{table.name}: {outcome}, expected {wanted}")
    assert surprises == []


@pytest.mark.parametrize("who", WHO)
async def test_nobody_empties_a_table(who: str, cast: Cast, catalog: Catalog) -> None:
    outcomes = {
        name: await _attempt(cast, who, (f"truncate {name} cascade", {})) for name in catalog
    }
    assert outcomes == dict.fromkeys(catalog, "refused")


async def _attempt(cast: Cast, who: str, statement: Statement) -> str:
    outcome = "did not run"
    try:
        async with cast.acting(who) as session:
            outcome = await _run(session, statement)
            raise _UndoneError
    except _UndoneError:
        return outcome
    except ProgrammingError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            return "refused"
        raise
    except IntegrityError as error:
        # The right is there, and so is the row; what refers to it keeps it.
        if isinstance(error.orig, psycopg.errors.ForeignKeyViolation):
            return "1 rows"
        raise


async def _run(session: AsyncSession, statement: Statement) -> str:
    result = await session.execute(text(statement[0]), statement[1])
    assert isinstance(result, CursorResult)
    return f"{result.rowcount} rows"


def _statement(expected: Expected, table: TableFacts, cast: Cast) -> Statement:
    """The verb on Ada's row; with the columns that are granted, or with all if none is."""
    role = DATABASE_ROLES[expected.who]
    where, key = _where(table, cast.ada.rows[table.name])
    match expected.verb:
        case "select":
            wanted = sorted(columns(table.name, role, "select", table.columns) or table.columns)
            return f"select {', '.join(wanted)} from {table.name} where {where}", key
        case "insert":
            return _insert(table, role, cast)
        case "update":
            writable = columns(table.name, role, "update", table.columns)
            column = sorted(writable - set(table.key) or writable or table.columns)[0]
            # Not `column = default`: that of another column, so that it's a change of the right type.
            return f"update {table.name} set {column} = {column} where {where}", key
        case _:
            return f"delete from {table.name} where {where}", key


def _insert(table: TableFacts, role: str, cast: Cast) -> Statement:
    granted = columns(table.name, role, "insert", table.columns)
    row = {
        name: value
        for name, value in rows.ROWS[table.name](cast.ada).items()
        if not granted or name in granted
    }
    if table.name == "public.usage_outbox":
        # A ledger line is reported once; this one stands for a line without a report yet.
        return (
            f"insert into {table.name} ({', '.join(row)}) values"
            f" ({', '.join(':' + name for name in row)}) on conflict (usage_record_id)"
            " do update set attempts = usage_outbox.attempts",
            row,
        )
    names = ", ".join(row)
    return f"insert into {table.name} ({names}) values ({', '.join(':' + n for n in row)})", row


def _where(table: TableFacts, row: Mapping[str, object]) -> Statement:
    key = {f"key_{name}": row[name] for name in table.key}
    return " and ".join(f"{name} = :key_{name}" for name in table.key), key
