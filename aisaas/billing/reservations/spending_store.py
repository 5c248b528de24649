"""The SQL of alerts about spending. Days are UTC; times and claims go by the database's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class CapUse:
    """A cap on a day, in USD. `told_percent` is the highest line that is recorded for it, or 0."""

    day: date
    scope: str
    cap_usd: Decimal
    spent_usd: Decimal
    reserved_usd: Decimal
    refusing: bool
    told_percent: int = 0


async def cap_uses(session: AsyncSession, caps: Mapping[str, Decimal]) -> Sequence[CapUse]:
    """Today's, and for a while yesterday's: what is spent in a day's last moment counts, too."""
    rows = await session.execute(
        text(
            """
            select d.day, d.scope, u.cap_usd, d.spent_usd, d.reserved_usd,
              d.refused_at is not null as refusing, coalesce(max(a.percent), 0) as told_percent
            from public.spend_days d
              join unnest(cast(:scopes as text[]), cast(:usd as numeric[])) s (scope, usd)
                on s.scope = d.scope
              left join private.spending_caps c on c.scope = d.scope
              cross join lateral (select cast(coalesce(c.usd, s.usd) as numeric(12, 6))) u (cap_usd)
              left join private.spending_alerts a
                on a.day = d.day and a.scope = d.scope and a.cap_usd = u.cap_usd
            where d.day in (
              (now() at time zone 'UTC')::date, ((now() - interval '2 min') at time zone 'UTC')::date
            )
            group by d.day, d.scope, u.cap_usd, d.spent_usd, d.reserved_usd, d.refused_at
            """
        ),
        {"scopes": list(caps), "usd": list(caps.values())},
    )
    return [CapUse(**row) for row in rows.mappings()]


async def add_lines(
    session: AsyncSession, use: CapUse, lines: Sequence[int], *, to_webhook: bool
) -> frozenset[int]:
    """Record lines, the highest first: that one is told. Which of them were not there yet."""
    rows = await session.execute(
        text(
            """
            insert into private.spending_alerts (day, scope, cap_usd, percent, spent_usd,
              reserved_usd, refusing, told, state)
            select :day, :scope, :cap_usd, line, :spent_usd, :reserved_usd, :refusing,
              line = :highest,
              case when line = :highest and :to_webhook then 'pending' else 'none' end
            from unnest(cast(:lines as integer[])) line
            on conflict (day, scope, cap_usd, percent) do nothing returning percent
            """
        ),
        {
            "day": use.day,
            "scope": use.scope,
            "cap_usd": use.cap_usd,
            "spent_usd": use.spent_usd,
            "reserved_usd": use.reserved_usd,
            "refusing": use.refusing,
            "lines": list(lines),
            "highest": lines[0],
            "to_webhook": to_webhook,
        },
    )
    return frozenset(rows.scalars())
