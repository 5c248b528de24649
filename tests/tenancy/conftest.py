"""Two people with a row in every table, and a way to act as anybody."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from devstack.stack import Stack
from tests.tenancy import rows
from tests.tenancy.rows import Person, Row

Catalog = Mapping[str, "TableFacts"]

RELATIONS = """
    select n.nspname || '.' || c.relname as name, c.relrowsecurity,
      array(select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        order by a.attnum) as columns,
      array(select a.attname::text from pg_index i join pg_attribute a
          on a.attrelid = c.oid and a.attnum = any(i.indkey)
        where i.indrelid = c.oid and i.indisprimary) as key
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'private') and c.relkind in ('r', 'p', 'v', 'm', 'f')
    order by 1
"""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What the database's catalog says about a table."""

    name: str
    row_security: bool
    columns: frozenset[str]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Cast:
    """Ada owns what is touched; Bob is the other signed-in user."""

    ada: Person
    bob: Person
    user: UserDatabase
    service: ServiceDatabase

    def acting(self, who: str) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction as one of the persons of the matrix."""
        opened: dict[str, Callable[[], AbstractAsyncContextManager[AsyncSession]]] = {
            "anonymous": self.user.as_anonymous,
            "stranger": lambda: self.user.as_user(self.bob.id),
            "owner": lambda: self.user.as_user(self.ada.id),
            "service": self.service.transaction,
        }
        return opened[who]()


@pytest.fixture(scope="session")
def schema_owner(stack: Stack) -> Generator[psycopg.Connection]:
    """The connection that migrations use; it commits each statement."""
    url = stack.env["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def catalog(schema_owner: psycopg.Connection) -> Catalog:
    """Every table, view or whatever else holds rows in our schemas."""
    return {
        name: TableFacts(name, row_security, frozenset(columns), tuple(key))
        for name, row_security, columns, key in schema_owner.execute(RELATIONS)
    }


@pytest_asyncio.fixture(loop_scope="session")
async def cast(stack: Stack, schema_owner: psycopg.Connection) -> AsyncGenerator[Cast]:
    login = DatabasePool(stack.env["DATABASE_URL"])
    service_login = DatabasePool(stack.env["SERVICE_DATABASE_URL"])
    ada, bob = seed(schema_owner), seed(schema_owner)
    yield Cast(ada, bob, UserDatabase(login), ServiceDatabase(service_login))
    await login.close()
    await service_login.close()
    for person in (ada, bob):
        unseed(schema_owner, person)


def seed(connection: psycopg.Connection) -> Person:
    """Sign someone up and give them a row in every table."""
    person = Person()
    sign_up(connection, person)
    fixed: dict[str, Row] = {
        "public.conversations": {"id": person.conversation},
        "public.messages": {"id": person.question},
        "public.quota_periods": {"period_key": person.period},
        "public.reservations": {"id": person.reservation},
        "public.credit_grants": {"id": person.grant},
        "public.usage_records": {"id": person.usage},
    }
    # What others refer to comes first.
    for table in sorted(rows.ROWS, key=lambda name: name not in fixed):
        row = dict(rows.ROWS[table](person)) | dict(fixed.get(table, {}))
        if table == "private.alembic_version":
            ((version,),) = connection.execute("select version_num from private.alembic_version")
            row = {"version_num": version}
        elif table != "public.profiles":
            insert(connection, table, row)
        person.rows[table] = row
    return person


def unseed(connection: psycopg.Connection, person: Person) -> None:
    """What is for everybody must not stay behind; the rest belongs to a user nobody else asks for."""
    for table, key in (
        ("private.kill_switches", "scope"),
        ("private.added_models", "model"),
        ("private.model_overrides", "model"),
        ("private.spending_caps", "scope"),
        ("public.spend_days", "day"),
    ):
        connection.execute(
            sql.SQL("delete from {} where {} = %s").format(
                sql.Identifier(*table.split(".")), sql.Identifier(key)
            ),
            [person.rows[table][key]],
        )


def sign_up(connection: psycopg.Connection, person: Person) -> None:
    """What the auth server does to the database; the profile comes by itself."""
    connection.execute(
        "insert into auth.users (id, email, raw_user_meta_data) values (%s, %s, %s)",
        [person.id, person.email, '{"full_name": "Ada Lovelace"}'],
    )


def insert(connection: psycopg.Connection, table: str, row: Row) -> None:
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(*table.split(".")),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        ),
        list(row.values()),
    )
