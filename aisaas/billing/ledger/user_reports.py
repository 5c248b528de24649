"""The SQL of what one user, or a few, have used, for admins. All of it runs as the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

DAYS = 30


@dataclass(frozen=True, slots=True)
class UseOfDay:
    """A user's total usage on a day (UTC), titles included."""

    day: date
    requests: int
    prompt_tokens: int
    completion_tokens: int
    quota_tokens: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class UserCost:
    """What their calls cost us: in the running period, and ever."""

    period_usd: Decimal
    ever_usd: Decimal
    ever_requests: int


@dataclass(frozen=True, slots=True)
class UsedLately:
    """Of the last DAYS days."""

    requests: int
    quota_tokens: int
    cost_usd: Decimal


async def lately(session: AsyncSession, user_ids: Sequence[UUID]) -> Mapping[UUID, UsedLately]:
    """What each user used in the last DAYS days, including those who used nothing."""
    rows = await session.execute(
        text(
            """
            select i.id, u.requests, u.quota_tokens, u.cost_usd
            from unnest(cast(:ids as uuid[])) i (id)
            cross join lateral (
              select coalesce(sum(d.requests), 0)::bigint as requests,
                coalesce(sum(d.quota_tokens), 0)::bigint as quota_tokens,
                coalesce(sum(d.cost_usd), 0) as cost_usd
              from public.usage_days d
              where d.user_id = i.id and d.day > (now() at time zone 'UTC')::date - :days
            ) u
            """
        ),
        {"ids": list(user_ids), "days": DAYS},
    )
    return {row.id: UsedLately(row.requests, row.quota_tokens, row.cost_usd) for row in rows.all()}


async def days(session: AsyncSession, user_id: UUID) -> tuple[date, Sequence[UseOfDay]]:
    """The database's today, and the last DAYS days with usage."""
    today = (await session.execute(text("select (now() at time zone 'UTC')::date"))).scalar_one()
    rows = await session.execute(
        text(
            """
            select day, sum(requests)::bigint as requests,
              sum(prompt_tokens)::bigint as prompt_tokens,
              sum(completion_tokens)::bigint as completion_tokens,
              sum(quota_tokens)::bigint as quota_tokens, sum(cost_usd) as cost_usd
            from public.usage_days
            where user_id = :id and day > cast(:today as date) - :days
            group by day order by day desc
            """
        ),
        {"id": user_id, "today": today, "days": DAYS},
    )
    return today, [UseOfDay(**row) for row in rows.mappings()]


async def spent(session: AsyncSession, user_id: UUID, period_key: str) -> UserCost:
    rows = await session.execute(
        text(
            """
            select coalesce(sum(cost_usd) filter (where period_key = :key), 0) as period_usd,
              coalesce(sum(cost_usd), 0) as ever_usd,
              coalesce(sum(requests), 0)::bigint as ever_requests
            from public.usage_days where user_id = :id
            """
        ),
        {"id": user_id, "key": period_key},
    )
    return UserCost(**rows.mappings().one())
