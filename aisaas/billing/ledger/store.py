"""The SQL of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger.models import (
    Call,
    CallPage,
    Charge,
    DayUse,
    Overview,
    RefusedDay,
)
from aisaas.billing.plans.models import Limits
from aisaas.billing.plans.periods import Period
from aisaas.billing.reservations.relations import ASKED, REFUSALS, RESERVATIONS
from aisaas.billing.reservations.store import allowance
from aisaas.db.engine import fetch_in
from aisaas.db.paging import Moment, first


async def add_usage(
    session: AsyncSession,
    charge: Charge,
    *,
    quota_tokens: int,
    credit_tokens: int,
    overage_tokens: int,
    overage_usd: Decimal,
    cost_usd: Decimal,
) -> UUID:
    """Append the ledger line, and keep the price that it names; the period is the reservation's, whenever
    it settles."""
    price, tokens = charge.model.price, charge.tokens
    rates = price.rates(tokens.prompt)
    row = await session.execute(
        text(
            f"""
            with kept as (
              insert into private.price_versions (model, version, digest, price)
              values (:model, :price_version, :price_digest, :price)
              on conflict do nothing
            )
            insert into public.usage_records (reservation_id, user_id, conversation_id, message_id,
              purpose, plan, model, provider, prompt_tokens, cached_prompt_tokens,
              cache_write_tokens, cache_write_1h_tokens, region, completion_tokens,
              thinking_tokens, counted_by, report_issue, weight, quota_tokens, credit_tokens, overage_tokens,
              overage_usd, period_key, input_usd_per_million, output_usd_per_million, price_version,
              price_digest, cost_usd, outcome, created_at)
            select :id, :user_id, :conversation_id, :message_id, :purpose, :plan, :model, :provider,
              :prompt, :cached, :cache_write, :cache_write_1h, :region, :completion, :thinking,
              :counted_by, :report_issue, :weight, :quota_tokens, :credit_tokens,
              :overage_tokens, :overage_usd, r.period_key,
              :input_usd, :output_usd, :price_version, :price_digest, :cost, :outcome, now()
            from {RESERVATIONS} r where r.id = :id
            returning id
            """  # noqa: S608  # a relation of ours
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
            "cached": tokens.cached,
            "cache_write": tokens.cache_write,
            "cache_write_1h": tokens.cache_write_1h,
            "region": tokens.region,
            "completion": charge.completion_tokens,
            "thinking": tokens.thinking,
            "counted_by": charge.counted_by,
            "report_issue": charge.report_issue,
            "weight": charge.weight,
            "quota_tokens": quota_tokens,
            "credit_tokens": credit_tokens,
            "overage_tokens": overage_tokens,
            "overage_usd": overage_usd,
            # The rates of the tier that the prompt reached.
            "input_usd": rates.input_usd,
            "output_usd": rates.output_usd,
            "price_version": price.version,
            "price_digest": price.digest,
            "price": Jsonb(price.to_dict()),
            "cost": cost_usd,
            "outcome": charge.outcome,
        },
    )
    return row.scalar_one()


@dataclass(frozen=True, slots=True)
class WrittenOff:
    """Extra usage of a period that no invoice will ask for."""

    tokens: int
    usd: Decimal


async def write_off(
    session: AsyncSession, user_id: UUID, period_key: str | None, *, subscription_id: str
) -> WrittenOff | None:
    """Write off a period's charges; None when there are none, or they already were."""
    rows = await session.execute(
        text(
            """
            insert into private.write_offs (period_key, user_id, subscription_id, reason, tokens, usd)
            select u.period_key, u.user_id, :subscription, 'payment_failed', sum(u.overage_tokens),
              sum(u.overage_usd)
            from public.usage_records u where u.user_id = :user_id and u.period_key = :period_key
            group by u.period_key, u.user_id having sum(u.overage_usd) > 0
            on conflict do nothing returning tokens, usd
            """
        ),
        {"subscription": subscription_id, "user_id": user_id, "period_key": period_key},
    )
    found = rows.one_or_none()
    return WrittenOff(found.tokens, found.usd) if found is not None else None


async def add_provider_errors(
    session: AsyncSession, errors: Sequence[tuple[str, str, str]]
) -> None:
    """Count failures, each a provider, its model and the kind, on the day of now (UTC)."""
    await session.execute(
        text(
            """
            insert into private.provider_errors as e (day, provider, model, kind, times)
            select (now() at time zone 'UTC')::date, provider, model, kind, count(*)
            from unnest(cast(:providers as text[]), cast(:models as text[]), cast(:kinds as text[]))
              as f (provider, model, kind)
            group by 1, 2, 3, 4 order by 1, 2, 3, 4
            on conflict (day, provider, model, kind) do update
              set times = e.times + excluded.times
            """
        ),
        {
            "providers": [provider for provider, _, _ in errors],
            "models": [model for _, model, _ in errors],
            "kinds": [kind for _, _, kind in errors],
        },
    )


# The user's own page --------------------------------------------------------------------------------

DAYS = 30
CALLS = 20
REFUSED = 30


@dataclass(frozen=True, slots=True)
class _Found:
    """Columns of the overview; arrays come as JSON, read by `_overview`."""

    today: date
    days: tuple[DayUse, ...]
    calls: tuple[Call, ...]
    refused: tuple[RefusedDay, ...]


_overview = TypeAdapter(_Found)
_calls = TypeAdapter(tuple[Call, ...])

# One more than a page has, to know whether there are more. Money travels as text: a JSON number
# would lose digits.
_CALLS = """
    select coalesce(json_agg(c order by c.at {order}, c.id {order}), '[]') from (
      select u.id, u.created_at as at, u.purpose, u.conversation_id, null as title, r.model as asked,
        u.model, u.prompt_tokens, u.completion_tokens, u.quota_tokens,
        u.overage_usd::text as overage_usd, u.cost_usd::text as cost_usd, u.outcome
      from public.usage_records u
        left join {asked} r on r.id = u.reservation_id
      where u.user_id = :user_id {place}
      order by u.created_at {order}, u.id {order} limit :calls
    ) c
"""
_NEWEST = _CALLS.format(order="desc", place="", asked=ASKED)
_OLDER = text(
    _CALLS.format(
        asked=ASKED, order="desc", place="and (u.created_at, u.id) < (:at, cast(:id as uuid))"
    )
)
_NEWER = text(
    _CALLS.format(
        asked=ASKED, order="asc", place="and (u.created_at, u.id) > (:at, cast(:id as uuid))"
    )
)

_WHOLE_PAGE = """
    with clock as (select (now() at time zone 'UTC')::date as today),
    period as (
      select cast(:period_key as text) as key,
        (cast(:period_start as timestamptz) at time zone 'UTC')::date as starts
    )
    select
      (select today from clock) as today,
      (
        select coalesce(json_agg(d), '[]') from (
          select u.day, u.model, u.period_key = (select key from period) as in_period,
            coalesce(sum(u.requests) filter (where u.purpose = 'reply'), 0)::bigint as replies,
            sum(u.quota_tokens)::bigint as tokens
          from public.usage_days u
          where u.user_id = :user_id and u.day >= least(
            (select today from clock) - (:days - 1), (select starts from period)
          )
          group by 1, 2, 3
        ) d
      ) as days,
      ({newest}) as calls,
      (
        select coalesce(json_agg(f order by f.last desc), '[]') from (
          select code, max(minute) as last, sum(times)::bigint as times,
            (array_agg(model order by minute desc))[1] as model
          from {refusals} r
          where user_id = :user_id
            and minute >= ((select today from clock) - (:days - 1)) at time zone 'UTC'
          group by code, (minute at time zone 'UTC')::date
          order by last desc limit :refused
        ) f
      ) as refused
"""
_OVERVIEW = text(_WHOLE_PAGE.format(newest=_NEWEST, refusals=REFUSALS))


async def overview(
    session: AsyncSession, user_id: UUID, period: Period | None, limits: Limits
) -> Overview:
    """Two round trips: the allowance's period determines the rest. Receipts come without their
    conversations' titles."""
    left = await fetch_in(session, allowance(user_id, period, limits))
    row = await session.execute(
        _OVERVIEW,
        {
            "user_id": user_id,
            "period_key": left.period_key,
            "period_start": left.period_start,
            "days": DAYS,
            "calls": CALLS + 1,
            "refused": REFUSED,
        },
    )
    found = _overview.validate_python(dict(row.mappings().one()))
    calls, older = first(found.calls, CALLS)
    page = CallPage(calls, older=older, newer=False)
    return Overview(left, found.today, found.days, page, found.refused)


async def older_calls(session: AsyncSession, user_id: UUID, place: Moment) -> CallPage:
    found = await _calls_beside(session, _OLDER, user_id, place)
    calls, older = first(found, CALLS)
    return CallPage(calls, older=older, newer=True)


async def newer_calls(session: AsyncSession, user_id: UUID, place: Moment) -> CallPage:
    found = await _calls_beside(session, _NEWER, user_id, place)
    calls, newer = first(found, CALLS)
    if newer:
        return CallPage(calls[::-1], older=True, newer=True)
    # The newest page is full, even if rows were added while others were being read.
    values = {"user_id": user_id, "calls": CALLS + 1}
    newest = _calls.validate_python((await session.execute(text(_NEWEST), values)).scalar_one())
    calls, older = first(newest, CALLS)
    return CallPage(calls, older=older, newer=False)


async def _calls_beside(
    session: AsyncSession, query: sa.TextClause, user_id: UUID, place: Moment
) -> tuple[Call, ...]:
    values = {"user_id": user_id, "at": place.at, "id": place.id, "calls": CALLS + 1}
    return _calls.validate_python((await session.execute(query, values)).scalar_one())
