"""The SQL of one user's mails about billing, for admins. All of it runs as the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

LINES = 30
# Notices sent to a user as an admin aren't about that user.
_THEIR_OWN = "user_id = :id and left(key, 6) <> 'admin:'"


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail about billing, and what became of it."""

    id: UUID
    kind: str
    state: Literal["pending", "sent", "dead"]
    attempts: int
    last_error: str | None
    created_at: datetime
    sent_at: datetime | None


async def mails(session: AsyncSession, user_id: UUID) -> Sequence[SentMail]:
    rows = await session.execute(
        text(
            f"""
            select id, kind, state, attempts, last_error, created_at, sent_at
            from public.billing_notices where {_THEIR_OWN}
            order by created_at desc, id limit :lines
            """  # noqa: S608  # a fragment of this module
        ),
        {"id": user_id, "lines": LINES},
    )
    return [SentMail(**row) for row in rows.mappings()]


async def mail_again(session: AsyncSession, user_id: UUID, notice_id: UUID) -> SentMail | None:
    """Record that a mail is to be sent again; returns the new one, or None without an old one.

    It is a separate notice, so the first one's outcome stays, and mail programs don't treat it as
    the same mail.
    """
    rows = await session.execute(
        text(
            f"""
            insert into public.billing_notices (user_id, kind, key, values)
            select user_id, kind, :key, values from public.billing_notices
            where id = :notice and {_THEIR_OWN}
            returning id, kind, state, attempts, last_error, created_at, sent_at
            """  # noqa: S608  # a fragment of this module
        ),
        {"id": user_id, "notice": notice_id, "key": f"again:{notice_id}:{uuid4()}"},
    )
    found = rows.mappings().one_or_none()
    return SentMail(**found) if found else None


async def state_of_mail(session: AsyncSession, user_id: UUID, notice_id: UUID) -> str | None:
    rows = await session.execute(
        text(f"select state from public.billing_notices where id = :notice and {_THEIR_OWN}"),  # noqa: S608  # a fragment of this module
        {"id": user_id, "notice": notice_id},
    )
    return rows.scalar_one_or_none()
