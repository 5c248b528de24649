"""Engines and what is common to every transaction.

The role is set per transaction and ends with it, so the same code works through a
transaction-mode pooler and nothing is left on a pooled connection. A transaction which was given
no identity runs as `anon`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal
from uuid import UUID

import psycopg
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction

from aisaas.errors import DependencyError

Role = Literal["anon", "authenticated", "service_role"]

POOL_SIZE = 10
POOL_OVERFLOW = 20
# A caller that can't get a connection by then is told `unavailable` instead of being kept waiting.
POOL_WAIT_SECONDS = 5.0
CONNECT_SECONDS = 2
STATEMENT_TIMEOUT = "5s"
TRANSACTION_SECONDS = 6.0

_SET_IDENTITY = text(
    "select set_config('role', :role, true), set_config('request.jwt.claims', :claims, true),"
    " set_config('statement_timeout', :timeout, true),"
    " set_config('synchronous_commit', :sync, true)"
)


def driver_url(url: str) -> str:
    """The same address with the driver named, for SQLAlchemy."""
    scheme, rest = url.split("://", 1)
    if scheme not in {"postgres", "postgresql"}:
        raise ValueError("not a postgresql:// URL")
    return f"postgresql+psycopg://{rest}"


def make_engine(url: str) -> AsyncEngine:
    return create_async_engine(
        driver_url(url),
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
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
    )


class _IdentitySession(Session):
    """A session whose every transaction starts by taking on its identity."""


@event.listens_for(_IdentitySession, "after_begin")
def _take_identity(
    session: Session, transaction: SessionTransaction, connection: Connection
) -> None:
    if transaction.nested:
        return
    info = session.info
    connection.execute(
        _SET_IDENTITY,
        {
            "role": info.get("role", "anon"),
            "claims": info.get("claims", "{}"),
            "timeout": STATEMENT_TIMEOUT,
            "sync": info.get("synchronous_commit", "on"),
        },
    )


def claims_of(user_id: UUID) -> str:
    """The claims `auth.uid()` reads, as hosted Supabase's own gateway sets them."""
    return json.dumps({"sub": str(user_id), "role": "authenticated"})


@asynccontextmanager
async def transaction(
    engine: AsyncEngine, role: Role, *, claims: str = "{}", durable: bool = True
) -> AsyncGenerator[AsyncSession]:
    """One transaction, committed where the block ends and rolled back when it raises.

    Args:
        engine: the login's engine.
        role: what the transaction runs as.
        claims: JSON for `request.jwt.claims`.
        durable: False trades the last moment before a crash of the database for latency.

    Raises:
        DependencyError: the database did not answer; nothing was committed as far as is known.
    """
    info = {"role": role, "claims": claims, "synchronous_commit": "on" if durable else "off"}
    try:
        async with (
            # The server's own statement timeout is no help when the server is what hangs.
            asyncio.timeout(TRANSACTION_SECONDS),
            AsyncSession(
                engine, sync_session_class=_IdentitySession, expire_on_commit=False, info=info
            ) as session,
        ):
            await _begin(session)
            yield session
            await session.commit()
    except (OperationalError, InterfaceError, PoolTimeout, OSError, TimeoutError) as error:
        raise DependencyError("database") from error
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError):
            raise DependencyError("database") from error
        raise


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
