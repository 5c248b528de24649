"""The SQL of provider health: a process's counts, and its circuits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Counted:
    """Attempts at a model that ended alike."""

    provider: str
    model: str
    kind: str
    seconds_ago: float
    times: int
    first_tokens: tuple[int, ...]
    tokens: int
    writing_ms: int


@dataclass(frozen=True, slots=True)
class CircuitState:
    """A circuit that isn't closed. `model` is empty where it is of all the provider's models; after
    `seconds` a call may try it."""

    provider: str
    model: str
    failures: int
    seconds: float


async def add(session: AsyncSession, counted: Sequence[Counted]) -> None:
    """Add to the sums. No two may be of the same provider, model and kind."""
    await session.execute(
        text(
            """
            insert into private.provider_health as h (
              step, starts, provider, model, kind, times, first_tokens, tokens, writing_ms, last_at
            )
            select s.step, date_trunc(s.step, c.at, 'UTC'), c.provider, c.model, c.kind, c.times,
              c.first_tokens, c.tokens, c.writing_ms, c.at
            from (
              select *, now() - make_interval(secs => seconds_ago) as at
              from jsonb_to_recordset(cast(:counted as jsonb)) as c (
                provider text, model text, kind text, seconds_ago double precision, times integer,
                first_tokens integer[], tokens bigint, writing_ms bigint
              )
            ) c cross join (values ('minute'), ('hour')) as s (step)
            -- Everybody in the same order, so that nobody waits for each other.
            order by 1, 2, 3, 4, 5
            on conflict (step, starts, provider, model, kind) do update set
              times = h.times + excluded.times,
              first_tokens = coalesce((
                select array_agg(coalesce(a, 0) + coalesce(b, 0) order by n)
                from unnest(h.first_tokens, excluded.first_tokens) with ordinality as u (a, b, n)
              ), '{}'),
              tokens = h.tokens + excluded.tokens,
              writing_ms = h.writing_ms + excluded.writing_ms,
              last_at = greatest(h.last_at, excluded.last_at)
            """
        ),
        {"counted": json.dumps([asdict(each) for each in counted])},
    )


async def set_circuits(
    session: AsyncSession, process: UUID, circuits: Sequence[CircuitState]
) -> None:
    """What a process has of them from now on."""
    values = {"process": process, "circuits": json.dumps([asdict(each) for each in circuits])}
    await session.execute(
        text(
            """
            delete from private.provider_circuits p
            where p.process = :process and not exists (
              select from jsonb_to_recordset(cast(:circuits as jsonb)) as c (provider text, model text)
              where c.provider = p.provider and c.model = p.model
            )
            """
        ),
        values,
    )
    if not circuits:
        return
    await session.execute(
        text(
            """
            insert into private.provider_circuits (process, provider, model, failures, until)
            select :process, provider, model, failures, now() + make_interval(secs => seconds)
            from jsonb_to_recordset(cast(:circuits as jsonb)) as c (
              provider text, model text, failures integer, seconds double precision
            )
            on conflict (process, provider, model) do update
              set failures = excluded.failures, until = excluded.until, seen_at = now()
            """
        ),
        values,
    )
