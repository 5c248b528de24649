"""The SQL of one user's replies that failed, for admins. All of it runs as the service.

Invariant: no statement here reads `messages.content` or a conversation's title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.reservations.relations import RESERVATIONS

DAYS = 30
LINES = 30
# The newest replies that are searched for failed ones.
LOOKED_THROUGH = 2_000


@dataclass(frozen=True, slots=True)
class FailedReply:
    """A reply that ended in an error: its model, the reason and the time."""

    message_id: UUID
    conversation_id: UUID
    model: str
    answered_by: str | None
    status: str
    code: str | None
    at: datetime


async def failed_replies(session: AsyncSession, user_id: UUID) -> Sequence[FailedReply]:
    """Found through their reservations, which are indexed by user; messages only by conversation."""
    rows = await session.execute(
        text(
            f"""
            with latest as (
              select message_id, model from {RESERVATIONS} r
              where user_id = :id and purpose = 'reply' and message_id is not null
                and created_at > now() - make_interval(days => :days)
              order by created_at desc limit :through
            )
            select m.id as message_id, m.conversation_id, coalesce(m.model, l.model) as model,
              m.answered_by, m.status, m.error_code as code, m.created_at as at
            from latest l join public.messages m on m.id = l.message_id
            where m.status in ('failed', 'interrupted') or m.error_code is not null
            order by m.created_at desc limit :lines
            """  # noqa: S608  # a relation of ours
        ),
        {"id": user_id, "days": DAYS, "through": LOOKED_THROUGH, "lines": LINES},
    )
    return [FailedReply(**row) for row in rows.mappings()]
