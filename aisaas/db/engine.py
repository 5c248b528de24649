"""Connections of one login, and the parts common to every transaction.

The role is set per transaction and ends with it, so the same code works through a
transaction-mode pooler and nothing is left on a pooled connection. A transaction without an
identity runs as `anon`.

A server that doesn't answer is an outage (DependencyError). One that answers, and cancels a statement
that takes too long or collides with another, is not: that is TooSlow, and logged as an error of ours.
So is a transaction that runs out of its time while the server answers. Statements that are wrong
raise what the driver raises.

There are two ways in. `transaction` is for everything that needs more than one step. `ask` is one
round trip, for the guards that every call passes: through the ORM's session the same statement
takes several times as long.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, Literal, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import QueuePool

from aisaas.db.connections import RECYCLE_SECONDS, ConnectionPool, PooledConnection
from aisaas.db.deadline import given_again, within
from aisaas.errors import DependencyError, PoolExhausted, TooSlow
from aisaas.observe.outages import OUTAGES, is_late

log = logging.getLogger(__name__)

Role = Literal["anon", "authenticated", "service_role"]
# A statement for the driver, with its parameters: `%(name)s`.
Statement = tuple[LiteralString, Mapping[str, object]]
Row = Mapping[str, Any]
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

POOL_SIZE = 10
POOL_OVERFLOW = 20
ASKING_POOL_SIZE = 8
# A caller that can't get a connection by then is refused as `busy` instead of waiting on.
POOL_WAIT_SECONDS = 2.0
CONNECT_SECONDS = 2
STATEMENT_SECONDS = 5.0
TRANSACTION_SECONDS = 6.0
# A process that hangs within a transaction would keep its locks, and everyone would wait for them.
# Longer than it may take, so that a process which doesn't hang ends it itself.
IDLE_SECONDS = 10.0
# A server that has not answered for this long counts as hanging.
ASK_SECONDS = 2.5
# Shorter, so that a server which is only slow says so before it is given up.
ASKED_STATEMENT_SECONDS = 2.0

# What a server that is alive says when it cancels a statement or ends an idle transaction: our own
# timeouts (57014, 25P03, 25P04), locks that others hold (55P03), and collisions (40001, 40P01).
_CANCELED = frozenset({"57014", "25P03", "25P04", "55P03", "40001", "40P01"})
# Error classes of a server that is going down: connections (08), resources (53), shutdown (57), the
# system underneath (58). A failover leaves a read-only server (25006).
_AWAY = ("08", "53", "57", "58", "25006")

_IDENTITY: LiteralString = (
    "select set_config('role', %(role)s, true),"
    " set_config('request.jwt.claims', %(claims)s, true),"
    " set_config('statement_timeout', %(timeout)s, true),"
    " set_config('idle_in_transaction_session_timeout', %(idle)s, true),"
    " set_config('synchronous_commit', %(sync)s, true)"
)
_SET_IDENTITY = text(re.sub(r"%\((\w+)\)s", r":\1", _IDENTITY))


@dataclass(frozen=True, slots=True)
class PipelinedQuery(Generic[T]):
    """Statements that go together, and how to read the rows of each, in order. One that returns no rows
    has none."""

    statements: tuple[Statement, ...]
    read: Callable[[Sequence[Sequence[Row]]], T]


def both(
    first: PipelinedQuery[T], second: PipelinedQuery[U], read: Callable[[T, U], V]
) -> PipelinedQuery[V]:
    """Two that different owners have written, in one round trip."""
    count = len(first.statements)
    return PipelinedQuery(
        (*first.statements, *second.statements),
        lambda answers: read(first.read(answers[:count]), second.read(answers[count:])),
    )


async def fetch_in(session: AsyncSession, question: PipelinedQuery[T]) -> T:
    """Ask in a transaction that is open already, statement by statement."""
    connection = await session.connection()
    answers: list[Sequence[Row]] = []
    for query, parameters in question.statements:
        rows = await connection.exec_driver_sql(query, dict(parameters))
        answers.append([dict(row) for row in rows.mappings()] if rows.returns_rows else [])
    return question.read(answers)


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections: those in use, and how many there may be."""

    in_use: int
    limit: int


def driver_url(url: str) -> str:
    """The same address with the driver named, for SQLAlchemy."""
    scheme, rest = url.split("://", 1)
    if scheme not in {"postgres", "postgresql"}:
        raise ValueError("not a postgresql:// URL")
    return f"postgresql+psycopg://{rest}"


def claims_of(user_id: UUID) -> str:
    """The claims `auth.uid()` reads, as hosted Supabase's own gateway sets them."""
    return json.dumps({"sub": str(user_id), "role": "authenticated"})


class DatabasePool:
    """The connections of one database login. Connects when it is first used."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(
            driver_url(url),
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_WAIT_SECONDS,
            pool_pre_ping=False,
            pool_recycle=RECYCLE_SECONDS,
            # Errors are logged; what users wrote is not.
            hide_parameters=True,
            connect_args=_connect_options(),
        )
        # Of their own, because switching a connection between the two ways costs as much as asking.
        self._asking = ConnectionPool(url, size=ASKING_POOL_SIZE, **_connect_options())

    async def close(self) -> None:
        await self._engine.dispose()
        await self._asking.close()

    def use(self) -> Mapping[str, PoolUse]:
        """Of each pool."""
        return {
            "transactions": _use(self._engine, POOL_SIZE + POOL_OVERFLOW),
            "asking": PoolUse(self._asking.in_use, ASKING_POOL_SIZE),
        }

    async def reach(self, role: Role) -> None:
        """Returns when the database answers a statement as `role`, or has to answer so many others that
        none can be asked: if it doesn't answer those, they say so.

        Raises:
            DependencyError: it doesn't, within ASK_SECONDS.
        """
        alive: PipelinedQuery[None] = PipelinedQuery((("select 1", {}),), lambda _: None)
        with suppress(PoolExhausted):
            await self.ask(role, alive)

    @asynccontextmanager
    async def transaction(
        self, role: Role, *, claims: str = "{}", durable: bool = True
    ) -> AsyncGenerator[AsyncSession]:
        """One transaction, committed where the block ends and rolled back when it raises.

        Args:
            role: what the transaction runs as.
            claims: JSON for `request.jwt.claims`.
            durable: False trades the last moment before a crash of the database for latency.

        Raises:
            PoolExhausted: there was no free connection in time.
            DependencyError: the database did not answer; nothing was committed as far as is known.
            TooSlow: it answers, but canceled a statement, or the block took too long; nothing was
                committed.
        """
        asked = _Asked()
        async with (
            _translated(asked),
            AsyncSession(
                self._engine,
                sync_session_class=_IdentitySession,
                expire_on_commit=False,
                info={"identity": _identity(role, claims, durable=durable), "asked": asked},
            ) as session,
        ):
            await _begin(session)
            yield session
            asked.begin()
            await session.commit()

    async def ask(
        self, role: Role, question: PipelinedQuery[T], *, claims: str = "{}", durable: bool = True
    ) -> T:
        """One transaction in one round trip; arguments and errors as for `transaction`.

        A hanging server is reported within ASK_SECONDS. The driver then spends seconds trying to
        cancel what it sent, so that is left to a separate task.
        """
        held = await self._take()
        # It has begun before we can be canceled, so the connection is always given back.
        task = asyncio.create_task(self._ask(held, role, question, claims, durable=durable))
        try:
            if not await _done_in_time(task):
                OUTAGES.failed("database", late=True)
                raise DependencyError("database")
            return task.result()
        finally:
            if not task.done():
                task.add_done_callback(_looked_at)
                task.cancel()

    async def _take(self) -> PooledConnection:
        try:
            return await self._asking.take(wait_seconds=POOL_WAIT_SECONDS)
        except psycopg.Error as error:
            if (meaning := _meaning_of(error, error, lost=True)) is not None:
                raise meaning from error
            raise
        except OSError as error:
            raise _away(error) from error

    async def _ask(
        self,
        held: PooledConnection,
        role: Role,
        question: PipelinedQuery[T],
        claims: str,
        *,
        durable: bool,
    ) -> T:
        """Gives the connection back, or drops it."""
        connection = held.driver
        cursors: list[psycopg.AsyncCursor[Row]] = []
        identity = _identity(role, claims, durable=durable, seconds=ASKED_STATEMENT_SECONDS)
        async with _translated():
            try:
                # A pipeline is one transaction, and nothing waits before its end. The identity goes
                # first, so row level security applies to everything after it.
                async with connection.pipeline():
                    await connection.execute(_IDENTITY, identity)
                    for query, parameters in question.statements:
                        cursor: psycopg.AsyncCursor[Row] = connection.cursor(row_factory=dict_row)
                        cursors.append(await cursor.execute(query, parameters))
                answers = [
                    await cursor.fetchall() if cursor.description else [] for cursor in cursors
                ]
            except BaseException as error:
                lost = connection.closed
                # The failure may have left any state; don't reuse this connection.
                await self._asking.drop(held)
                if lost and isinstance(error, psycopg.Error) and error.sqlstate not in _CANCELED:
                    raise _away(error) from error
                raise
        await self._asking.give_back(held)
        return question.read(answers)


def _connect_options() -> dict[str, Any]:
    return {
        # Prepared statements would break behind a transaction-mode pooler.
        "prepare_threshold": None,
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "aisaas",
    }


def _use(engine: AsyncEngine, limit: int) -> PoolUse:
    pool = engine.pool
    return PoolUse(pool.checkedout() if isinstance(pool, QueuePool) else 0, limit)


async def _done_in_time(task: asyncio.Task[Any]) -> bool:
    """Whether it ended within ASK_SECONDS, not counting what the loop itself came too late."""
    ends = asyncio.get_running_loop().time() + ASK_SECONDS
    await asyncio.wait({task}, timeout=ASK_SECONDS)
    late = asyncio.get_running_loop().time() - ends
    if not task.done() and (more := given_again(late, ASK_SECONDS)):
        await asyncio.wait({task}, timeout=more)
    return task.done()


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Retrieve the outcome of a task that is no longer awaited."""
    if not task.cancelled():
        task.exception()


class _IdentitySession(Session):
    """A session whose every transaction starts by taking on its identity."""


@event.listens_for(_IdentitySession, "after_begin")
def _take_identity(
    session: Session, transaction: SessionTransaction, connection: Connection
) -> None:
    if transaction.nested:
        return
    identity = session.info.get("identity") or _identity("anon", "{}", durable=True)
    connection.info["asked"] = session.info.get("asked")
    connection.execute(_SET_IDENTITY, identity)


def _identity(
    role: Role, claims: str, *, durable: bool, seconds: float | None = None
) -> dict[str, str]:
    return {
        "role": role,
        "claims": claims,
        "timeout": f"{(seconds or STATEMENT_SECONDS) * 1000:.0f}ms",
        "idle": f"{IDLE_SECONDS * 1000:.0f}ms",
        "sync": "on" if durable else "off",
    }


class _Asked:
    """How long the server has owed an answer: first for the connection, then for the last
    statement."""

    def __init__(self) -> None:
        self._since: float | None = time.monotonic()

    def begin(self) -> None:
        self._since = time.monotonic()

    def end(self) -> None:
        self._since = None

    @property
    def seconds(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since


@event.listens_for(Engine, "before_cursor_execute")
def _note_asked(connection: Connection, *_: object) -> None:
    if (asked := connection.info.get("asked")) is not None:
        asked.begin()


@event.listens_for(Engine, "after_cursor_execute")
def _note_answered(connection: Connection, *_: object) -> None:
    if (asked := connection.info.get("asked")) is not None:
        asked.end()


@asynccontextmanager
async def _translated(asked: _Asked | None = None) -> AsyncGenerator[None]:
    """An answer that doesn't come, as DependencyError; one that says "canceled", as TooSlow.

    Args:
        asked: what the transaction waits for; None where the caller keeps the time.
    """
    try:
        # The server's own statement timeout is no help when the server is what hangs.
        async with within(TRANSACTION_SECONDS):
            yield
        OUTAGES.answered("database")
    except PoolTimeout as error:
        # That says nothing about the server.
        raise PoolExhausted("database") from error
    except DBAPIError as error:
        # Without a statement it was to connect, or to commit.
        lost = error.connection_invalidated or error.statement is None
        if (meaning := _meaning_of(error.orig, error, lost=lost)) is not None:
            raise meaning from error
        raise
    except psycopg.Error as error:
        if (meaning := _meaning_of(error, error, lost=False)) is not None:
            raise meaning from error
        raise
    except TimeoutError as error:
        if asked is not None and asked.seconds < ASK_SECONDS:
            what = f"a transaction took more than {TRANSACTION_SECONDS:.0f} s"
            raise _too_slow(what, error) from error
        raise _away(error) from error
    except OSError as error:
        raise _away(error) from error


def _meaning_of(error: BaseException | None, caught: Exception, *, lost: bool) -> Exception | None:
    """What an error of the driver means; None when the statement was wrong.

    Args:
        caught: the exception as it arrived, for the log.
        lost: the connection is no longer usable.
    """
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate
    if state in _CANCELED:
        return _too_slow(f"{type(error).__name__} ({state})", caught)
    # Without a state it is the client's own: the connection broke, or it never sent the statement.
    if lost if state is None else state.startswith(_AWAY):
        return _away(caught)
    if state is not None:
        OUTAGES.answered("database")
    return None


def _away(error: BaseException) -> DependencyError:
    OUTAGES.failed("database", late=is_late(error))
    return DependencyError("database")


def _too_slow(what: str, error: BaseException) -> TooSlow:
    # Logged here, because a caller that catches this may show nothing. The trace names the query.
    log.error("the database answers, but canceled what was asked: %s", what, exc_info=error)
    return TooSlow()


async def _begin(session: AsyncSession) -> None:
    """Take a connection and the identity. A connection that died in the pool is replaced once:
    nothing has been done on it yet."""
    try:
        await session.connection()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        await session.rollback()
        await session.connection()
