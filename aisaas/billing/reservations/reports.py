"""The SQL of refusals and of what a day came to over all users, for admins. It runs as the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger.usage_models import RefusedFor, Span


async def refusals(session: AsyncSession, span: Span) -> Sequence[RefusedFor]:
    rows = await session.execute(
        text(
            """
            select code, sum(times)::bigint as times, count(*) as users from (
              select code, user_id, sum(times) as times from public.refusals
              where minute >= :start and minute < :end group by 1, 2
            ) r group by 1 order by 2 desc, 1
            """
        ),
        {"start": span.start, "end": span.end},
    )
    return [RefusedFor(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class SpentOn:
    """USD of a day."""

    day: date
    spent_usd: Decimal
    reserved_usd: Decimal


async def free_tier_days(session: AsyncSession, span: Span) -> Sequence[SpentOn]:
    rows = await session.execute(
        text(
            """
            select day, spent_usd, reserved_usd from public.spend_days
            where scope = 'free' and day between :first and :last order by day
            """
        ),
        {"first": span.first, "last": span.last},
    )
    return [SpentOn(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class Now:
    """What is going on; money of today, UTC."""

    at: datetime
    running: int
    refusals: int
    free_spent: Decimal
    free_reserved: Decimal
    total_spent: Decimal
    total_reserved: Decimal


async def now(session: AsyncSession) -> Now:
    """One round trip, using indexes only. Refusals are those of the last whole minute."""
    rows = await session.execute(
        text(
            """
            select now() as at,
              (select count(*) from public.reservations
                where state = 'open' and lease_expires_at > now() and purpose = 'reply') as running,
              (select coalesce(sum(times), 0)::bigint from public.refusals
                where minute >= date_trunc('minute', now() - interval '1 minute')
                  and minute < date_trunc('minute', now())) as refusals,
              coalesce(max(spent_usd) filter (where scope = 'free'), 0) as free_spent,
              coalesce(max(reserved_usd) filter (where scope = 'free'), 0) as free_reserved,
              coalesce(max(spent_usd) filter (where scope = 'total'), 0) as total_spent,
              coalesce(max(reserved_usd) filter (where scope = 'total'), 0) as total_reserved
            from public.spend_days where day = (now() at time zone 'UTC')::date
            """
        )
    )
    return Now(**rows.mappings().one())


@dataclass(frozen=True, slots=True)
class SpentToday:
    """USD of today (UTC) by the database's clock."""

    scope: str
    spent_usd: Decimal
    reserved_usd: Decimal
    refusing: bool


async def spent_today(session: AsyncSession) -> Sequence[SpentToday]:
    rows = await session.execute(
        text(
            "select scope, spent_usd, reserved_usd, refused_at is not null as refusing"
            " from public.spend_days where day = (now() at time zone 'UTC')::date"
        )
    )
    return [SpentToday(**row) for row in rows.mappings()]
