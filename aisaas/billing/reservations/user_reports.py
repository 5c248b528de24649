"""The SQL of one user's refusals and credits, for admins. All of it runs as the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

DAYS = 30
LINES = 30


@dataclass(frozen=True, slots=True)
class Refused:
    """How often one reason refused them in one minute."""

    code: str
    minute: datetime
    times: int
    model: str | None


@dataclass(frozen=True, slots=True)
class Credit:
    """A grant. `over` when it can't be used any more."""

    id: UUID
    tokens: int
    spent: int
    reason: str
    granted_by: str
    expires_at: datetime | None
    created_at: datetime
    over: bool


async def refused(session: AsyncSession, user_id: UUID) -> Sequence[Refused]:
    rows = await session.execute(
        text(
            """
            select code, minute, times, model from public.refusals
            where user_id = :id and minute > now() - make_interval(days => :days)
            order by minute desc, code limit :lines
            """
        ),
        {"id": user_id, "days": DAYS, "lines": LINES},
    )
    return [Refused(**row) for row in rows.mappings()]


async def credits_of(session: AsyncSession, user_id: UUID) -> Sequence[Credit]:
    rows = await session.execute(
        text(
            """
            select id, tokens, spent, reason, granted_by, expires_at, created_at,
              spent >= tokens or coalesce(expires_at <= now(), false) as over
            from public.credit_grants where user_id = :id order by created_at desc, id limit :lines
            """
        ),
        {"id": user_id, "lines": LINES},
    )
    return [Credit(**row) for row in rows.mappings()]
