"""Connections of one login, and what is common to every transaction.

The role is set per transaction and ends with it, so the same code works through a
transaction-mode pooler and nothing is left on a pooled connection. A transaction which was given
no identity runs as `anon`.

There are two ways in. `transaction` is for everything that needs more than one step. `ask` is one
round trip, for the door, where every call passes: through the ORM's session the same statement
takes several times as long.
"""

from __future__ import annotations

import asyncio
import json
import re
import select
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, LiteralString, TypeVar, cast
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import QueuePool

from aisaas.db.deadline import given_again, within
from aisaas.errors import DependencyError
from aisaas.observe.outages import OUTAGES, is_late

Role = Literal["anon", "authenticated", "service_role"]
# A statement for the driver, with its parameters: `%(name)s`.
Statement = tuple[LiteralString, Mapping[str, object]]
Row = Mapping[str, Any]
T = TypeVar("T")

POOL_SIZE = 10
POOL_OVERFLOW = 20
ASKING_POOL_SIZE = 8
# A caller that can't get a connection by then is told `unavailable` instead of being kept waiting.
POOL_WAIT_SECONDS = 5.0
CONNECT_SECONDS = 2
STATEMENT_TIMEOUT = "5s"
TRANSACTION_SECONDS = 6.0
ASK_SECONDS = 2.5

_IDENTITY: LiteralString = (
    "select set_config('role', %(role)s, true),"
    " set_config('request.jwt.claims', %(claims)s, true),"
    " set_config('statement_timeout', %(timeout)s, true),"
    " set_config('synchronous_commit', %(sync)s, true)"
)
_SET_IDENTITY = text(re.sub(r"%\((\w+)\)s", r":\1", _IDENTITY))


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """Statements that go together, and how to read the rows of each, in order."""

    statements: tuple[Statement, ...]
    read: Callable[[Sequence[Sequence[Row]]], T]


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


class Login:
    """The connections of one database login. Connects when it is first used."""

    def __init__(self, url: str) -> None:
        self._engine = _make_engine(url, pool_size=POOL_SIZE, max_overflow=POOL_OVERFLOW)
        # Of their own, because switching a connection between the two ways costs as much as asking.
        self._asking = _make_engine(
            url,
            pool_size=ASKING_POOL_SIZE,
            max_overflow=0,
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,
        )

    async def close(self) -> None:
        await self._engine.dispose()
        await self._asking.dispose()

    def use(self) -> Mapping[str, PoolUse]:
        """Of each pool."""
        return {
            "transactions": _use(self._engine, POOL_SIZE + POOL_OVERFLOW),
            "asking": _use(self._asking, ASKING_POOL_SIZE),
        }

    async def reach(self, role: Role) -> None:
        """Returns when the database answers a statement as `role`.

        Raises:
            DependencyError: it doesn't, within ASK_SECONDS.
        """
        alive: Question[None] = Question((("select 1", {}),), lambda _: None)
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
            DependencyError: the database did not answer; nothing was committed as far as is known.
        """
        async with (
            _outage_told(),
            AsyncSession(
                self._engine,
                sync_session_class=_IdentitySession,
                expire_on_commit=False,
                info={"identity": _identity(role, claims, durable=durable)},
            ) as session,
        ):
            await _begin(session)
            yield session
            await session.commit()

    async def ask(
        self, role: Role, question: Question[T], *, claims: str = "{}", durable: bool = True
    ) -> T:
        """One transaction in one round trip; arguments and errors as for `transaction`.

        A server that hangs is told within ASK_SECONDS. The driver then goes on for seconds trying
        to cancel what it sent, so that is left behind in a task of its own.
        """
        asked = asyncio.Event()
        task = asyncio.create_task(self._ask(role, question, claims, asked, durable=durable))
        try:
            # That all connections are in use is our own doing, and has a limit in the pool.
            await _first_of(task, asked)
            done = await _done_in_time(task)
            if not done:
                OUTAGES.failed("database", late=True)
                raise DependencyError("database")
            return task.result()
        finally:
            if not task.done():
                task.add_done_callback(_looked_at)
                task.cancel()

    async def _ask(
        self,
        role: Role,
        question: Question[T],
        claims: str,
        asked: asyncio.Event,
        *,
        durable: bool,
    ) -> T:
        """`asked` is set once there is a connection to ask on."""
        async with _outage_told(), self._driver_connection() as connection:
            asked.set()
            cursors: list[psycopg.AsyncCursor[Row]] = []
            # What is sent in a pipeline is one transaction, and nothing waits before its end. The
            # identity goes first, so row level security holds for everything behind it.
            async with connection.pipeline():
                await connection.execute(_IDENTITY, _identity(role, claims, durable=durable))
                for query, parameters in question.statements:
                    cursor: psycopg.AsyncCursor[Row] = connection.cursor(row_factory=dict_row)
                    cursors.append(await cursor.execute(query, parameters))
            return question.read([await cursor.fetchall() for cursor in cursors])

    @asynccontextmanager
    async def _driver_connection(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with self._asking.connect() as pooled:
            driver = await _driver_of(pooled)
            # An outage leaves many; the one after the last of them is new.
            while _is_dead(driver):
                await pooled.invalidate()
                driver = await _driver_of(pooled)
            try:
                yield driver
            except BaseException:
                # Whatever state a failure left it in, nobody shall inherit it.
                await pooled.invalidate()
                raise


def _use(engine: AsyncEngine, limit: int) -> PoolUse:
    pool = engine.pool
    return PoolUse(pool.checkedout() if isinstance(pool, QueuePool) else 0, limit)


async def _first_of(task: asyncio.Task[Any], event: asyncio.Event) -> None:
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _done_in_time(task: asyncio.Task[Any]) -> bool:
    """Whether it ended within ASK_SECONDS, not counting what the loop itself came too late."""
    ends = asyncio.get_running_loop().time() + ASK_SECONDS
    await asyncio.wait({task}, timeout=ASK_SECONDS)
    late = asyncio.get_running_loop().time() - ends
    if not task.done() and (more := given_again(late, ASK_SECONDS)):
        await asyncio.wait({task}, timeout=more)
    return task.done()


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Nobody waits for its end any more, so nobody else would look at how it ended."""
    if not task.cancelled():
        task.exception()


def _make_engine(url: str, **options: Any) -> AsyncEngine:
    return create_async_engine(
        driver_url(url),
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=False,
        pool_recycle=1800,
        # Errors are logged; what users wrote is not.
        hide_parameters=True,
        connect_args={
            # Prepared statements would break behind a transaction-mode pooler.
            "prepare_threshold": None,
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "aisaas",
        },
        **options,
    )


async def _driver_of(pooled: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    return cast(
        "psycopg.AsyncConnection[Any]", (await pooled.get_raw_connection()).driver_connection
    )


def _is_dead(connection: psycopg.AsyncConnection[Any]) -> bool:
    """On an idle connection only its end can be waiting to be read. Costs no round trip."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _IdentitySession(Session):
    """A session whose every transaction starts by taking on its identity."""


@event.listens_for(_IdentitySession, "after_begin")
def _take_identity(
    session: Session, transaction: SessionTransaction, connection: Connection
) -> None:
    if transaction.nested:
        return
    identity = session.info.get("identity") or _identity("anon", "{}", durable=True)
    connection.execute(_SET_IDENTITY, identity)


def _identity(role: Role, claims: str, *, durable: bool) -> dict[str, str]:
    return {
        "role": role,
        "claims": claims,
        "timeout": STATEMENT_TIMEOUT,
        "sync": "on" if durable else "off",
    }


@asynccontextmanager
async def _outage_told() -> AsyncGenerator[None]:
    """An answer that doesn't come, as DependencyError."""
    try:
        # The server's own statement timeout is no help when the server is what hangs.
        async with within(TRANSACTION_SECONDS):
            yield
        OUTAGES.answered("database")
    except (
        OperationalError,
        InterfaceError,
        PoolTimeout,
        psycopg.OperationalError,
        OSError,
        TimeoutError,
    ) as error:
        _note(error)
        raise DependencyError("database") from error
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError):
            _note(error)
            raise DependencyError("database") from error
        raise


# Classes of errors by which a server says that it can't work for anybody: no connection, no resources, on
# its way down or up.
_AWAY = ("08", "53", "57P")


def _note(error: BaseException) -> None:
    """Whether it was the database that is away: a server that refuses a statement is there, and a pool of
    ours that is used up says nothing of it."""
    if isinstance(error, PoolTimeout):
        return
    driver = error.orig if isinstance(error, DBAPIError) else error
    state = driver.sqlstate if isinstance(driver, psycopg.Error) else None
    if state is None or state.startswith(_AWAY):
        OUTAGES.failed("database", late=is_late(error))
    else:
        OUTAGES.answered("database")


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
