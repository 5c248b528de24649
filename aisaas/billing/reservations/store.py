"""The SQL of reservations, allowances, credits, and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.relations import HELD, PROFILES
from aisaas.billing.job_failures.relations import FAILED, NOT_DUE
from aisaas.billing.plans.models import Limits
from aisaas.billing.plans.periods import Period
from aisaas.billing.reservations.models import Allowance, Held, Purpose, ReservationRequest
from aisaas.db.engine import PipelinedQuery, Row
from aisaas.language_models import Model

LEASE_SECONDS = 15.0

_RESERVE: LiteralString = """
    select refusal, coalesce(max_tokens, 0) as max_tokens, coalesce(tokens_left, 0) as tokens_left,
      retry_at
    from private.reserve(
      %(id)s, %(user_id)s, %(conversation_id)s, %(message_id)s, %(purpose)s, %(plan)s, %(model)s,
      %(prompt)s, %(prompt_count)s, %(max)s, %(min)s, %(weight)s, %(input_usd)s, %(output_usd)s,
      %(period_key)s, %(period_start)s, %(period_end)s, %(included)s, %(overage)s, %(parallel)s, %(free)s, %(free_cap)s, %(total_cap)s,
      %(lease)s, %(scopes)s, %(models)s, %(revision)s)
    """


@dataclass(frozen=True, slots=True)
class Reserved:
    """`refusal` is None when `max_tokens` may be generated."""

    refusal: str | None
    max_tokens: int
    tokens_left: int
    retry_at: datetime | None


def reserve(
    claim: ReservationRequest, *, free_cap: Decimal, total_cap: Decimal
) -> PipelinedQuery[Reserved]:
    # A fallback may cost us more than the requested model: hold for the most expensive.
    worst = [model.price.worst(claim.prompt_estimate) for model in claim.models]
    parameters = {
        "id": claim.request_id,
        "user_id": claim.user_id,
        "conversation_id": claim.conversation_id,
        "message_id": claim.message_id,
        "purpose": claim.purpose,
        "plan": claim.plan,
        "model": claim.models[0].id,
        "prompt": claim.prompt_estimate,
        "prompt_count": claim.prompt_count,
        "max": claim.max_tokens,
        "min": claim.min_tokens,
        "weight": claim.models[0].weight,
        "input_usd": max(into for into, _ in worst),
        "output_usd": max(out for _, out in worst),
        **_period(claim.period),
        "included": claim.limits.included,
        "overage": claim.limits.overage,
        "parallel": claim.parallel,
        "free": claim.free_tier,
        "free_cap": free_cap,
        "total_cap": total_cap,
        "lease": LEASE_SECONDS,
        "scopes": list(claim.switches),
        "models": Jsonb([_held(model) for model in claim.models]),
        "revision": claim.models_revision,
    }
    return PipelinedQuery(((_RESERVE, parameters),), lambda answers: Reserved(**answers[0][0]))


def _held(model: Model) -> dict[str, Any]:
    """What a call to this model settles at."""
    return {
        "id": model.id,
        "provider": model.provider,
        "weight": str(model.weight),
        **model.price.to_dict(),
    }


def _period(period: Period | None) -> dict[str, object]:
    return {
        "period_key": period and period.key,
        "period_start": period and period.start,
        "period_end": period and period.end,
    }


def release(request_id: UUID) -> PipelinedQuery[bool]:
    query: LiteralString = "select closed from private.close_reservation(%(id)s, 0, 0)"
    return PipelinedQuery(((query, {"id": request_id}),), lambda answers: answers[0][0]["closed"])


async def hold(session: AsyncSession, request_id: UUID) -> Held | None:
    """What a reservation holds, locked until the transaction ends; None once it is closed."""
    rows = await session.execute(
        text(
            """
            select tokens as quota_tokens, cost_usd, prompt_estimate as prompt_tokens,
              max_tokens as completion_tokens
            from public.reservations where id = :id and state = 'open' for update
            """
        ),
        {"id": request_id},
    )
    found = rows.mappings().one_or_none()
    return Held(**found) if found else None


@dataclass(frozen=True, slots=True)
class Closed:
    """A reservation's end: what of the call credits have paid, and the period as it is now. What was
    charged before an upgrade in the same period (`carried`) is part of `used` and of
    `period_credited`."""

    credited: int
    period_key: str
    period_end: datetime
    used: int
    included: int
    overage: int
    period_credited: int
    carried: int


async def close_reservation(
    session: AsyncSession, request_id: UUID, *, quota_tokens: int, cost_usd: Decimal
) -> Closed | None:
    """None when it was already closed elsewhere: then nothing may be booked."""
    rows = await session.execute(
        text(
            """
            select c.credited, c.period_key, c.period_end, c.used, c.included, c.overage,
              c.period_credited, coalesce(q.carried_tokens, 0) as carried
            from private.close_reservation(:id, :tokens, :cost) c
              left join public.reservations r on r.id = :id
              left join public.quota_periods q
                on q.user_id = r.user_id and q.period_key = r.period_key
            where c.closed
            """
        ),
        {"id": request_id, "tokens": quota_tokens, "cost": cost_usd},
    )
    found = rows.mappings().one_or_none()
    return Closed(**found) if found else None


def renew_leases(request_ids: Sequence[UUID]) -> PipelinedQuery[frozenset[UUID]]:
    """Renew what is still open; what is missing from the answer was closed by the recovery."""
    query: LiteralString = """
        update public.reservations
        set lease_expires_at = now() + make_interval(secs => %(lease)s)
        where id = any(%(ids)s) and state = 'open' returning id
        """
    parameters = {"ids": list(request_ids), "lease": LEASE_SECONDS}
    return PipelinedQuery(
        ((query, parameters),), lambda answers: frozenset(r["id"] for r in answers[0])
    )


def clock() -> PipelinedQuery[datetime]:
    """The database's time, at this moment."""
    return PipelinedQuery(
        (("select clock_timestamp() as at", {}),), lambda answers: answers[0][0]["at"]
    )


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An open reservation whose process stopped renewing it."""

    request_id: UUID
    user_id: UUID
    conversation_id: UUID | None
    message_id: UUID | None
    purpose: Purpose
    plan: str
    model: str
    weight: Decimal
    prompt_count: int
    max_tokens: int
    metered_customer: str | None
    # As they were when it was reserved; None if the previous release of the product reserved it.
    models: Sequence[Mapping[str, Any]] | None
    failed_before: bool


async def claim_abandoned(
    session: AsyncSession, limit: int, *, until: datetime | None = None
) -> Sequence[Abandoned]:
    """Take over reservations whose lease ran out. This renews their lease, so that several recoveries
    share the work and another one continues if a recovery dies. One that could not be recovered
    waits for a retry.

    Args:
        until: by the database's clock; nothing is taken over later than that.
    """
    rows = await session.execute(
        text(
            f"""
            update public.reservations r
            set lease_expires_at = now() + make_interval(secs => :lease)
            where r.id in (
              select id from public.reservations o
              where state = 'open' and lease_expires_at < now()
                and (cast(:until as timestamptz) is null or clock_timestamp() <= :until)
                and not exists (
                  select 1 from {NOT_DUE} f
                  where f.job = 'recover_replies' and f.item = o.id::text
                )
              order by lease_expires_at limit :limit for update of o skip locked
            )
            returning r.id as request_id, r.user_id, r.conversation_id, r.message_id, r.purpose,
              r.plan, r.model, r.weight, r.prompt_count, r.max_tokens, r.models,
              exists (
                select 1 from {FAILED} f
                where f.job = 'recover_replies' and f.item = r.id::text
              ) as failed_before,
              -- None on the free tier, and once the account is gone: its reservation still settles.
              case when not r.free_tier then (
                select p.stripe_customer_id from {PROFILES} p where p.id = r.user_id
              ) end as metered_customer
            """  # noqa: S608  # relations of ours
        ),
        {"lease": LEASE_SECONDS, "limit": limit, "until": until},
    )
    return [Abandoned(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class Chargeable:
    """What may still be charged in a period: tokens by the limits of its last reservation, USD by the
    current cap (None: no bound)."""

    tokens: int
    usd: Decimal | None


async def chargeable(
    session: AsyncSession, user_id: UUID, period_key: str, default_cap_usd: Decimal | None
) -> Chargeable:
    """Behind the period's lock, which closing the reservation has taken."""
    rows = await session.execute(
        text(
            f"""
            select greatest(q.overage - (q.billed_tokens - q.carried_tokens), 0) as tokens,
              least(coalesce(p.overage_cap_usd, cast(:cap as numeric)), p.highest_cap_usd)
                - q.billed_usd as usd
            from public.quota_periods q left join {PROFILES} p on p.id = q.user_id
            where q.user_id = :user_id and q.period_key = :period_key
            """  # noqa: S608  # a relation of ours
        ),
        {"user_id": user_id, "period_key": period_key, "cap": default_cap_usd},
    )
    found = rows.mappings().one()
    usd = found["usd"]
    return Chargeable(found["tokens"], None if usd is None else max(usd, Decimal(0)))


_ALLOWANCE: LiteralString = """
    with period as (
      select coalesce(%(period_key)s::text, 'month:' || to_char(m.starts, 'YYYY-MM')) as key,
        coalesce(%(period_start)s::timestamptz, m.starts at time zone 'UTC') as starts,
        coalesce(%(period_end)s::timestamptz,
          (m.starts + interval '1 month') at time zone 'UTC') as ends
      from (select date_trunc('month', now() at time zone 'UTC') as starts) m
    )
    select p.key as period_key, p.starts as period_start, p.ends as period_end,
      coalesce(q.used - q.carried_tokens, 0) as used, coalesce(q.reserved, 0) as reserved,
      coalesce(q.billed_tokens, 0) as billed_tokens, coalesce(q.billed_usd, 0) as billed_usd,
      coalesce(q.carried_usd, 0) as carried_usd,
      coalesce(q.credited - q.carried_tokens, 0) + coalesce((
        select sum(g.tokens - g.spent)::bigint from public.credit_grants g
        where g.user_id = %(user_id)s and g.spent < g.tokens
          and (g.expires_at is null or g.expires_at > now())
      ), 0) as credits
    from period p
    left join public.quota_periods q on q.user_id = %(user_id)s and q.period_key = p.key
    """


def allowance(user_id: UUID, period: Period | None, limits: Limits) -> PipelinedQuery[Allowance]:
    """The running period's allowance, by the database's clock."""
    parameters = {"user_id": user_id, **_period(period)}
    return PipelinedQuery(
        ((_ALLOWANCE, parameters),),
        lambda answers: Allowance(
            **answers[0][0], included=limits.included, overage=limits.overage
        ),
    )


# Refusals -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RefusedLately:
    """Not written yet. `age_seconds` instead of a time: the minute is the database's to name."""

    user_id: UUID
    code: str
    age_seconds: float
    times: int
    model: str | None


async def add_refusals(session: AsyncSession, lately: Sequence[RefusedLately]) -> None:
    """One statement for all. Who has no account any more has no refusals either."""
    await session.execute(
        text(
            f"""
            with said as (
              select user_id, code, date_trunc('minute', now() - make_interval(secs => age))
                  as minute,
                sum(times)::integer as times, (array_agg(model order by age))[1] as model
              from unnest(cast(:users as uuid[]), cast(:codes as text[]),
                cast(:ages as double precision[]), cast(:times as integer[]),
                cast(:models as text[])) as s (user_id, code, age, times, model)
              group by 1, 2, 3
            ), known as ({HELD})
            insert into public.refusals as r (user_id, code, minute, times, model)
            select s.user_id, s.code, s.minute, s.times, s.model
            from said s join known k on k.id = s.user_id order by 1, 2, 3
            on conflict (user_id, code, minute) do update
              set times = r.times + excluded.times, model = excluded.model
            """  # noqa: S608  # a statement of ours
        ),
        {
            "users": [each.user_id for each in lately],
            "codes": [each.code for each in lately],
            "ages": [each.age_seconds for each in lately],
            "times": [each.times for each in lately],
            "models": [each.model for each in lately],
        },
    )


async def grant_credits(
    session: AsyncSession,
    user_id: UUID,
    tokens: int,
    *,
    reason: str,
    actor: str,
    expires_at: datetime | None,
) -> UUID:
    rows = await session.execute(
        text(
            "insert into public.credit_grants (user_id, tokens, reason, granted_by, expires_at)"
            " values (:user_id, :tokens, :reason, :actor, :expires_at) returning id"
        ),
        {
            "user_id": user_id,
            "tokens": tokens,
            "reason": reason,
            "actor": actor,
            "expires_at": expires_at,
        },
    )
    return rows.scalar_one()


# Periods and days -----------------------------------------------------------------------------------


async def carry(session: AsyncSession, user_id: UUID, period_key: str) -> None:
    """Another plan begins in a period that runs: what was charged until now is, and stays so."""
    await session.execute(
        text(
            """
            update public.quota_periods q
            set credited = q.credited + q.billed_tokens - q.carried_tokens,
              carried_tokens = q.billed_tokens, carried_usd = q.billed_usd
            where q.user_id = :id and q.period_key = :key
            """
        ),
        {"id": user_id, "key": period_key},
    )


async def carried_usd(session: AsyncSession, user_id: UUID, period_key: str | None) -> Decimal:
    """What was charged in a period before the plan that holds now."""
    rows = await session.execute(
        text(
            "select carried_usd from public.quota_periods where user_id = :id and period_key = :key"
        ),
        {"id": user_id, "key": period_key},
    )
    return rows.scalar_one_or_none() or Decimal(0)


async def lock_spend_days(session: AsyncSession) -> None:
    """Lock today's rows until the transaction ends, in the order reservations lock them. A changed
    cap has not refused anyone yet."""
    for scope in ("free", "total"):
        await session.execute(
            text(
                """
                insert into public.spend_days (day, scope)
                values ((now() at time zone 'UTC')::date, :scope)
                on conflict (day, scope) do update set refused_at = null
                """
            ),
            {"scope": scope},
        )


def counts() -> PipelinedQuery[Row]:
    """Metrics over all users and processes."""
    query: LiteralString = """
        select
          (select count(*) from public.reservations
            where state = 'open' and purpose = 'reply' and lease_expires_at > now())
            as running_replies,
          (select count(*) from public.reservations
            where state = 'open' and lease_expires_at <= now()) as abandoned_calls
        """
    return PipelinedQuery(((query, {}),), lambda answers: answers[0][0])
