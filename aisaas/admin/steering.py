"""What every act of steering has in common: who acts, why, and one transaction for the act and its line
in the audit log. The role is checked again inside: hiding a button protects nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.admin_access import Actor, acting, stated
from aisaas.admin import store
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, Unavailable


@dataclass(frozen=True, slots=True)
class Act:
    """One act in its transaction."""

    session: AsyncSession
    actor: str
    reason: str

    async def note(self, action: str, subject: str, *, before: object, after: object) -> None:
        """Its line in the audit log; `before` and `after` are JSON."""
        await store.audit(
            self.session,
            actor=self.actor,
            action=action,
            subject=subject,
            before=before,
            after=after,
            reason=self.reason,
        )


@asynccontextmanager
async def steering(database: ServiceDatabase, actor: Actor, reason: str) -> AsyncGenerator[Act]:
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
