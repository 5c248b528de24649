"""Who may look and act as an admin. Hiding a page protects nothing; this check does.

A user who isn't an admin gets the same answer as for an address that doesn't exist.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import store as accounts_store
from aisaas.accounts.models import Principal
from aisaas.audit import store as audit_store
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid, DependencyError, NotFound, Unavailable

NOTHING_HERE = "There is nothing at this address."
LONGEST_REASON = 500

# A signed-in admin, or an operator at the command line, like `operator:ada`, who has database access
# anyway.
Actor = Principal | str


def require_admin(actor: Actor) -> None:
    """For reads without their own transaction: the principal was read for this very request.

    Raises:
        NotFound: not an admin.
    """
    if not isinstance(actor, str) and not actor.is_admin:
        raise NotFound(NOTHING_HERE)


@asynccontextmanager
async def admin_read(
    database: ServiceDatabase, actor: Actor, *, held: bool = False
) -> AsyncGenerator[AsyncSession]:
    """A transaction of an admin who reads.

    Args:
        held: read their role again, and lock it until the transaction ends.

    Raises:
        NotFound: not an admin.
        Unavailable: the database does not answer.
    """
    require_admin(actor)
    try:
        async with database.transaction() as session:
            if held:
                await _hold(session, actor)
            yield session
    except DependencyError as error:
        raise Unavailable from error


async def _hold(session: AsyncSession, actor: Actor) -> str:
    """The actor's name in the audit log; locks their role until the transaction ends."""
    if isinstance(actor, str):
        return actor
    if not await accounts_store.hold_admin(session, actor.user_id):
        raise NotFound(NOTHING_HERE)
    return f"user:{actor.user_id}"


@dataclass(frozen=True, slots=True)
class Act:
    """An action in its transaction."""

    session: AsyncSession
    actor: str
    reason: str

    async def note(self, action: str, subject: str, *, before: object, after: object) -> None:
        """Its line in the audit log; `before` and `after` are JSON."""
        await audit_store.audit(
            self.session,
            actor=self.actor,
            action=action,
            subject=subject,
            before=before,
            after=after,
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class Intent:
    """A planned action, with its reason as the audit log stores it: one line."""

    actor: Actor
    reason: str

    @classmethod
    def of(cls, actor: Actor, reason: str) -> Intent:
        """Raises ActionInvalid when the reason is missing, too long, or not text."""
        line = " ".join(reason.split())
        if not line:
            raise ActionInvalid("Enter a reason. It's saved in the audit log.")
        if len(line) > LONGEST_REASON or not line.isprintable():
            raise ActionInvalid(f"A reason can have at most {LONGEST_REASON} characters.")
        return cls(actor, line)

    async def within(self, session: AsyncSession) -> Act:
        """Act in an open transaction, which the caller may have opened.

        A principal's role is read again and locked until the transaction ends, so nothing is done
        by a user who stopped being an admin before it commits.

        Raises:
            NotFound: not an admin, or no longer one.
        """
        return Act(session, await _hold(session, self.actor), self.reason)


@asynccontextmanager
async def admin_write(
    database: ServiceDatabase,
    actor: Actor,
    reason: str,
    *,
    first: Callable[[AsyncSession], Awaitable[None]] | None = None,
) -> AsyncGenerator[Act]:
    """The transaction of one action, committed at the end of the block. An action that takes several
    transactions is an `Intent`, and enters each.

    Args:
        first: takes the locks that must come before the actor's own row.

    Raises:
        NotFound: the actor isn't an admin, or no longer one.
        ActionInvalid: the reason is missing or too long.
        Unavailable: the database does not answer; as far as is known, nothing was changed.
    """
    intent = Intent.of(actor, reason)
    try:
        async with database.transaction() as session:
            if first is not None:
                await first(session)
            yield await intent.within(session)
    except DependencyError as error:
        raise Unavailable from error
