"""The SQL of provider health for admins. All of it runs as the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.providers.health import ANSWERED, STOPPED

# A process renews its circuits every two seconds; it may miss some of them.
GONE_SECONDS = 30
Named = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """How attempts at a model ended in a span. `kind` is as in billing/providers/health.py."""

    provider: str
    model: str
    kind: str
    times: int
    tokens: int
    writing_ms: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Circuit:
    """`model` is empty where it is of all the provider's. `until` has passed where it is half-open;
    of several processes it is the latest."""

    provider: str
    model: str
    processes: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    provider: str
    model: str
    kind: str
    at: datetime


async def clock(session: AsyncSession) -> datetime:
    return (await session.execute(text("select now()"))).scalar_one()


async def ended(
    session: AsyncSession, step: Literal["minute", "hour"], span: timedelta
) -> Sequence[Ended]:
    rows = await session.execute(
        text(
            """
            select provider, model, kind, sum(times)::bigint as times, sum(tokens)::bigint as tokens,
              sum(writing_ms)::bigint as writing_ms, max(last_at) as last_at
            from private.provider_health where step = :step and starts > now() - :span
            group by 1, 2, 3 order by 4 desc, 1, 2, 3
            """
        ),
        {"step": step, "span": span},
    )
    return [Ended(**row) for row in rows.mappings()]


async def first_tokens(
    session: AsyncSession, step: Literal["minute", "hour"], span: timedelta
) -> Mapping[Named, Mapping[int, int]]:
    """By provider and model: how many came in each range of seconds, by its number."""
    rows = await session.execute(
        text(
            """
            select h.provider, h.model, n - 1 as range, sum(came)::bigint as times
            from private.provider_health h, unnest(h.first_tokens) with ordinality as u (came, n)
            where h.step = :step and h.starts > now() - :span
            group by 1, 2, 3 having sum(came) > 0
            """
        ),
        {"step": step, "span": span},
    )
    found: dict[Named, dict[int, int]] = {}
    for provider, model, number, times in rows:
        found.setdefault((provider, model), {})[number] = times
    return found


async def last_failures(session: AsyncSession) -> Sequence[Failure]:
    """Of each model, as long as failures are kept; the newest first."""
    rows = await session.execute(
        text(
            """
            select provider, model, kind, last_at as at from (
              select distinct on (provider, model) provider, model, kind, last_at
              from private.provider_health
              where step = 'hour' and starts > now() - interval '7 days' and kind <> all(:fine)
              order by provider, model, last_at desc
            ) f order by at desc, provider, model
            """
        ),
        {"fine": [ANSWERED, STOPPED]},
    )
    return [Failure(**row) for row in rows.mappings()]


async def circuits(session: AsyncSession) -> Sequence[Circuit]:
    """Those that aren't closed, of the processes that are there."""
    rows = await session.execute(
        text(
            """
            select provider, model, count(*) as processes, max(until) as until
            from private.provider_circuits where seen_at > now() - make_interval(secs => :gone)
            group by 1, 2 order by 1, 2
            """
        ),
        {"gone": GONE_SECONDS},
    )
    return [Circuit(**row) for row in rows.mappings()]
