"""Tokens that an admin gives a user, beyond what their plan includes.

A grant is a line of the ledger: the admin, the user, the amount, the reason and the end. It is
written together with its line in the audit log, and ends only by being used up or by expiring.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import store as accounts_store
from aisaas.audit import store as audit_store
from aisaas.billing.reservations import store as reservations_store
from aisaas.db.service import ServiceDatabase
from aisaas.errors import NotFound

# Bounds what a typo can give away.
MOST_TOKENS = 1_000_000_000


class Credits:
    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    async def grant(
        self,
        user_id: UUID,
        tokens: int,
        *,
        actor: str,
        reason: str,
        expires_at: datetime | None = None,
    ) -> UUID:
        """Give quota tokens; returns the grant's id. They are used after the included ones.

        Raises:
            NotFound, ValueError: as for `grant_in`.
        """
        async with self._database.transaction() as session:
            return await grant_in(
                session, user_id, tokens, actor=actor, reason=reason, expires_at=expires_at
            )

    async def user_by_email(self, email: str) -> UUID:
        """Raises NotFound."""
        async with self._database.transaction() as session:
            found = await accounts_store.user_by_email(session, email)
        if found is None:
            raise NotFound("No account has that email address.")
        return found


async def grant_in(
    session: AsyncSession,
    user_id: UUID,
    tokens: int,
    *,
    actor: str,
    reason: str,
    expires_at: datetime | None,
) -> UUID:
    """Give quota tokens in the caller's transaction, which has authorized `actor`; returns the grant's
    id.

    Raises:
        NotFound: no such user.
        ValueError: no reason, no or too many tokens, or an end without a time zone or in the past
            by the database's clock.
    """
    if not reason.strip():
        raise ValueError("a grant needs a reason")
    if not 0 < tokens <= MOST_TOKENS:
        raise ValueError(f"tokens must be from 1 to {MOST_TOKENS:,}")
    if expires_at is not None and expires_at.tzinfo is None:
        raise ValueError("the end needs a time zone")
    now = await accounts_store.lock_user(session, user_id)
    if now is None:
        raise NotFound("That user doesn't exist.")
    if expires_at is not None and expires_at <= now:
        raise ValueError("the end lies in the past")
    grant_id = await reservations_store.grant_credits(
        session, user_id, tokens, reason=reason.strip(), actor=actor, expires_at=expires_at
    )
    await audit_store.audit(
        session,
        actor=actor,
        action="credits.grant",
        subject=f"user:{user_id}",
        before=None,
        after={
            "grant": str(grant_id),
            "tokens": tokens,
            "expires_at": expires_at.isoformat() if expires_at else None,
        },
        reason=reason.strip(),
    )
    return grant_id
