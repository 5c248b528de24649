"""Who may look and act as an admin. Hiding a page protects nothing; this check does.

To somebody who is no admin there is nothing here: the same answer as for an address that leads nowhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
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

# An admin who is signed in, or an operator at the command line, like `operator:ada`. Who has that has
# the database as well.
Actor = Principal | str


def require_admin(principal: Principal) -> None:
    """For looking: the principal was read for this very request.

    Raises:
        NotFound: no admin.
    """
    if not principal.is_admin:
        raise NotFound(NOTHING_HERE)


def may_look(actor: Actor) -> None:
    """The same for what operators look at, too. Raises NotFound."""
    if not isinstance(actor, str):
        require_admin(actor)


@asynccontextmanager
async def admin_read(database: ServiceDatabase, actor: Actor) -> AsyncGenerator[AsyncSession]:
    """A transaction of somebody who may look.

    Raises:
        NotFound: no admin.
        Unavailable: the database does not answer.
    """
    may_look(actor)
    try:
        async with database.transaction() as session:
            yield session
    except DependencyError as error:
        raise Unavailable from error


def stated(reason: str) -> str:
    """The reason of an act as the audit log keeps it: one line.

    Raises:
        ActionInvalid: there is none, it is a novel, or no text.
    """
    line = " ".join(reason.split())
    if not line:
        raise ActionInvalid("Enter a reason. It's saved in the audit log.")
    if len(line) > LONGEST_REASON or not line.isprintable():
        raise ActionInvalid(f"A reason can have at most {LONGEST_REASON} characters.")
    return line


async def acting(session: AsyncSession, actor: Actor) -> str:
    """For acting: the name under which the audit log has it.

    A principal's role is read again and held until the transaction ends, so nothing is done by
    somebody who stopped being an admin before it commits.

    Raises:
        NotFound: no admin, or not any more.
    """
    if isinstance(actor, str):
        return actor
    if not await accounts_store.hold_admin(session, actor.user_id):
        raise NotFound(NOTHING_HERE)
    return f"user:{actor.user_id}"


@dataclass(frozen=True, slots=True)
class Act:
    """One act in its transaction."""

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


@asynccontextmanager
async def admin_write(database: ServiceDatabase, actor: Actor, reason: str) -> AsyncGenerator[Act]:
    """The transaction of one act, committed where the block ends.

    Raises:
        NotFound: the actor is no admin, or not any more.
        ActionInvalid: the reason is missing or too long.
        Unavailable: the database does not answer; nothing was changed as far as is known.
    """
    why = stated(reason)
    try:
        async with database.transaction() as session:
            yield Act(session, await acting(session, actor), why)
    except DependencyError as error:
        raise Unavailable from error
