"""A few connections, handed out one transaction at a time."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from devstack.auth import schema_path
from devstack.auth.errors import AuthError

Row = dict[str, Any]
Connection = AsyncConnection[Row]

CONNECTIONS = 8
WAIT_SECONDS = 10.0
CONNECT_SECONDS = 5
# A connection that was idle for longer is tested before use.
FRESH_SECONDS = 0.1
SCHEMA_LOCK = 7_411_906_325_118_402


class Database:
    def __init__(self, url: str) -> None:
        self._url = url
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[tuple[Connection, float]] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection inside a transaction: committed on the way out, rolled back on an exception.

        Raises `AuthError` 503 when Postgres can't be reached.
        """
        try:
            await asyncio.wait_for(self._slots.acquire(), WAIT_SECONDS)
        except TimeoutError as error:
            raise unavailable() from error
        try:
            try:
                connection = await self._take()
            except psycopg.OperationalError as error:
                raise unavailable() from error
            try:
                async with connection.transaction():
                    yield connection
            finally:
                await self._give_back(connection)
        finally:
            self._slots.release()

    async def apply_schema(self) -> None:
        async with self.transaction() as connection:
            await connection.execute("select pg_advisory_xact_lock(%s)", [SCHEMA_LOCK])
            await connection.execute(schema_path().read_bytes())

    async def close(self) -> None:
        while self._idle:
            connection, _ = self._idle.pop()
            await connection.close()

    async def _take(self) -> Connection:
        while self._idle:
            connection, since = self._idle.pop()
            if time.monotonic() - since < FRESH_SECONDS and not connection.closed:
                return connection
            try:
                await connection.execute("select 1")
            except psycopg.OperationalError:
                await connection.close()
            else:
                return connection
        return await AsyncConnection[Row].connect(
            self._url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=CONNECT_SECONDS,
            application_name="embedded-auth",
        )

    async def _give_back(self, connection: Connection) -> None:
        if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            await connection.close()
        else:
            self._idle.append((connection, time.monotonic()))


def unavailable() -> AuthError:
    return AuthError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unexpected_failure",
        "The database can't be reached. Try again in a moment.",
    )
