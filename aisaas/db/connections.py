"""Connections of the driver, for queries that take one round trip.

SQLAlchemy's pool hands each connection over through greenlets, which takes longer than such a query.
"""

from __future__ import annotations

import asyncio
import select
import time
from typing import Any, NamedTuple

import psycopg

from aisaas.errors import PoolExhausted

# Older ones are replaced, so that a database that has moved is found.
RECYCLE_SECONDS = 1800


class PooledConnection(NamedTuple):
    """A connection of the driver, and when it was opened, by the monotonic clock."""

    driver: psycopg.AsyncConnection[Any]
    opened_at: float


class ConnectionPool:
    """At most `size` connections, opened when they are first needed. The one used last is used next.

    Args:
        url: as libpq knows it.
        options: of each connection.
    """

    def __init__(self, url: str, *, size: int, **options: Any) -> None:
        self._url = url
        self._options = options
        self._room = asyncio.Semaphore(size)
        self._idle: list[PooledConnection] = []
        self._closed = False
        self.in_use = 0

    async def take(self, *, wait_seconds: float) -> PooledConnection:
        """A connection, which has to be given back or dropped.

        Raises:
            PoolExhausted: none became free in time.
            psycopg.Error: the server can't be reached, or doesn't let us in.
        """
        if self._room.locked():
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._room.acquire()
            except TimeoutError:
                raise PoolExhausted("database") from None
        else:
            await self._room.acquire()
        self.in_use += 1
        try:
            # An outage leaves many dead ones; the one after the last of them is new.
            while self._idle:
                held = self._idle.pop()
                fresh = time.monotonic() - held.opened_at < RECYCLE_SECONDS
                if fresh and not _is_dead(held.driver):
                    return held
                await held.driver.close()
            driver = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, **self._options
            )
        except BaseException:
            self._leave()
            raise
        return PooledConnection(driver, time.monotonic())

    async def give_back(self, held: PooledConnection) -> None:
        if self._closed:
            await self.drop(held)
            return
        self._idle.append(held)
        self._leave()

    async def drop(self, held: PooledConnection) -> None:
        """Close one that may be in any state."""
        try:
            await held.driver.close()
        finally:
            self._leave()

    async def close(self) -> None:
        """Close the idle connections now, and the others when they are given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().driver.close()

    def _leave(self) -> None:
        self.in_use -= 1
        self._room.release()


def _is_dead(connection: psycopg.AsyncConnection[Any]) -> bool:
    """On an idle connection only its end can be waiting to be read. Costs no round trip."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
