"""A database of its own on the shared server: what others left behind is not there, and nothing of
theirs is removed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from urllib.parse import urlsplit

import psycopg
import pytest
import pytest_asyncio

from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from devstack.stack import Stack
from tests.services import Database
from tests.tenancy.databases import migrated_database


@pytest.fixture(scope="session")
def own_url(stack: Stack) -> Generator[str]:
    """Its address as the owner of the schema."""
    with migrated_database(stack) as url:
        yield url


@pytest.fixture(scope="session")
def database(own_url: str) -> Generator[Database]:
    with psycopg.connect(own_url, autocommit=True) as connection:

        def run(sql: str, *args: object) -> list[tuple[object, ...]]:
            cursor = connection.execute(sql, args)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(stack: Stack, own_url: str) -> AsyncGenerator[ServiceDatabase]:
    url = urlsplit(stack.env["SERVICE_DATABASE_URL"])._replace(path=urlsplit(own_url).path)
    login = DatabasePool(url.geturl())
    yield ServiceDatabase(login)
    await login.close()


@pytest.fixture
def count(database: Database) -> Callable[[str, str], int]:
    """How many rows of a table fit."""

    def counted(table: str, where: str) -> int:
        ((found,),) = database(f"select count(*) from {table} where {where}")
        assert isinstance(found, int)
        return found

    return counted
