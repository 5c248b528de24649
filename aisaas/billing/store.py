"""All of billing's SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from aisaas.billing.models import Allowance, Charge, Claim, UsageRecord
from aisaas.db.engine import Question
from aisaas.ports import Purpose

LEASE_SECONDS = 15.0

_RESERVE: LiteralString = """
    select refusal, coalesce(max_tokens, 0) as max_tokens, coalesce(tokens_left, 0) as tokens_left,
      retry_at
    from private.reserve(
      %(id)s, %(user_id)s, %(conversation_id)s, %(message_id)s, %(purpose)s, %(plan)s, %(model)s,
      %(prompt)s, %(prompt_count)s, %(max)s, %(min)s, %(weight)s, %(input_usd)s, %(output_usd)s,
      null, null, null, %(token_limit)s, %(parallel)s, %(free)s, %(free_cap)s, %(total_cap)s,
      %(lease)s, %(scopes)s)
    """


@dataclass(frozen=True, slots=True)
class Reserved:
    """`refusal` is None when `max_tokens` may be generated."""

    refusal: str | None
    max_tokens: int
    tokens_left: int
    retry_at: datetime | None


def reserve(claim: Claim, *, free_cap: Decimal, total_cap: Decimal) -> Question[Reserved]:
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
        # A fallback may be dearer for us than what was asked for: hold for the dearest.
        "input_usd": max(model.price.input_usd for model in claim.models),
        "output_usd": max(model.price.output_usd for model in claim.models),
        "token_limit": claim.token_limit,
        "parallel": claim.parallel,
        "free": claim.free_tier,
        "free_cap": free_cap,
        "total_cap": total_cap,
        "lease": LEASE_SECONDS,
        "scopes": list(claim.switches),
    }
    return Question(((_RESERVE, parameters),), lambda answers: Reserved(**answers[0][0]))


def release(request_id: UUID) -> Question[bool]:
    query: LiteralString = "select private.close_reservation(%(id)s, 0, 0) as closed"
    return Question(((query, {"id": request_id}),), lambda answers: answers[0][0]["closed"])


async def close_reservation(
    session: AsyncSession, request_id: UUID, *, quota_tokens: int, cost_usd: Decimal
) -> bool:
    """False when somebody else closed it: then nothing may be booked."""
    row = await session.execute(
        text("select private.close_reservation(:id, :tokens, :cost)"),
        {"id": request_id, "tokens": quota_tokens, "cost": cost_usd},
    )
    return bool(row.scalar_one())


async def add_usage(
    session: AsyncSession, charge: Charge, *, quota_tokens: int, cost_usd: Decimal
) -> UUID:
    """Append the ledger line; the period is the reservation's, whenever it settles."""
    row = await session.execute(
        text(
            """
            insert into public.usage_records (reservation_id, user_id, conversation_id, message_id,
              purpose, plan, model, provider, prompt_tokens, cached_prompt_tokens,
              completion_tokens, counted_by, weight, quota_tokens, period_key,
              input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome,
              created_at)
            select :id, :user_id, :conversation_id, :message_id, :purpose, :plan, :model, :provider,
              :prompt, :cached, :completion, :counted_by, :weight, :quota_tokens, r.period_key,
              :input_usd, :output_usd, :price_version, :cost, :outcome, now()
            from public.reservations r where r.id = :id
            returning id
            """
        ),
        {
            "id": charge.request_id,
            "user_id": charge.user_id,
            "conversation_id": charge.conversation_id,
            "message_id": charge.message_id,
            "purpose": charge.purpose,
            "plan": charge.plan,
            "model": charge.model.id,
            "provider": charge.model.provider,
            "prompt": charge.prompt_tokens,
            "cached": charge.cached_prompt_tokens,
            "completion": charge.completion_tokens,
            "counted_by": charge.counted_by,
            "weight": charge.weight,
            "quota_tokens": quota_tokens,
            "input_usd": charge.model.price.input_usd,
            "output_usd": charge.model.price.output_usd,
            "price_version": charge.model.price.version,
            "cost": cost_usd,
            "outcome": charge.outcome,
        },
    )
    return row.scalar_one()


async def add_outbox(
    session: AsyncSession, usage_id: UUID, *, user_id: UUID, customer: str, tokens: int
) -> None:
    """The identifier is the ledger line's id, so that sending twice counts once."""
    await session.execute(
        text(
            """
            insert into public.usage_outbox (usage_record_id, user_id, identifier,
              stripe_customer_id, tokens, event_at)
            values (:usage_id, :user_id, :identifier, :customer, :tokens, now())
            """
        ),
        {
            "usage_id": usage_id,
            "user_id": user_id,
            "identifier": f"usage-{usage_id}",
            "customer": customer,
            "tokens": tokens,
        },
    )


async def renew_leases(session: AsyncSession, request_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Renew what is still open; what is missing from the answer was closed by the recovery."""
    rows = await session.execute(
        text(
            """
            update public.reservations
            set lease_expires_at = now() + make_interval(secs => :lease)
            where id = any(:ids) and state = 'open' returning id
            """
        ),
        {"ids": list(request_ids), "lease": LEASE_SECONDS},
    )
    return frozenset(row[0] for row in rows)


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
    metered_customer: str | None


async def claim_abandoned(session: AsyncSession, limit: int) -> Sequence[Abandoned]:
    """Take over reservations whose lease ran out. Their lease is renewed for the taker, so that
    several recoveries share the work and a recovery that dies leaves it to the next."""
    rows = await session.execute(
        text(
            """
            update public.reservations r
            set lease_expires_at = now() + make_interval(secs => :lease)
            where r.id in (
              select id from public.reservations
              where state = 'open' and lease_expires_at < now()
              order by lease_expires_at limit :limit for update skip locked
            )
            returning r.id as request_id, r.user_id, r.conversation_id, r.message_id, r.purpose,
              r.plan, r.model, r.weight, r.prompt_count,
              -- None on the free tier, and once the account is gone: its reservation still settles.
              case when not r.free_tier then (
                select p.stripe_customer_id from public.profiles p where p.id = r.user_id
              ) end as metered_customer
            """
        ),
        {"lease": LEASE_SECONDS, "limit": limit},
    )
    return [Abandoned(**row) for row in rows.mappings()]


async def allowance(session: AsyncSession, user_id: UUID, limit: int) -> Allowance:
    """The running calendar month's allowance, by the database's clock."""
    row = (
        (
            await session.execute(
                text(
                    """
                    select coalesce(q.used, 0) as used, coalesce(q.reserved, 0) as reserved,
                      m.ends as period_end
                    from (select (date_trunc('month', now() at time zone 'UTC')
                      + interval '1 month') at time zone 'UTC' as ends,
                      'month:' || to_char(now() at time zone 'UTC', 'YYYY-MM') as key) m
                    left join public.quota_periods q
                      on q.user_id = :user_id and q.period_key = m.key
                    """
                ),
                {"user_id": user_id},
            )
        )
        .mappings()
        .one()
    )
    return Allowance(row["used"], row["reserved"], limit, row["period_end"])


async def recent_usage(session: AsyncSession, user_id: UUID, limit: int) -> Sequence[UsageRecord]:
    rows = await session.scalars(
        select(UsageRecord)
        .where(col(UsageRecord.user_id) == user_id)
        .order_by(col(UsageRecord.created_at).desc())
        .limit(limit)
    )
    return rows.all()
