"""All of billing's SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import sqlalchemy as sa
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.models import (
    Allowance,
    Call,
    CallPage,
    Charge,
    Claim,
    DayUse,
    Held,
    Limits,
    Overview,
    Place,
    RefusedDay,
)
from aisaas.billing.plans.periods import Period
from aisaas.db.engine import Question
from aisaas.ports import EXTRA_USAGE_METER, TOKEN_METER, Model, Purpose

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


def reserve(claim: Claim, *, free_cap: Decimal, total_cap: Decimal) -> Question[Reserved]:
    # A fallback may be dearer for us than what was asked for: hold for the dearest.
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
    return Question(((_RESERVE, parameters),), lambda answers: Reserved(**answers[0][0]))


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


def release(request_id: UUID) -> Question[bool]:
    query: LiteralString = "select closed from private.close_reservation(%(id)s, 0, 0)"
    return Question(((query, {"id": request_id}),), lambda answers: answers[0][0]["closed"])


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
    """None when somebody else closed it: then nothing may be booked."""
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


@dataclass(frozen=True, slots=True)
class Chargeable:
    """What may still be charged in a period: tokens by its limits as they were last reserved by, USD by
    the cap as it is now (None: no bound)."""

    tokens: int
    usd: Decimal | None


async def chargeable(session: AsyncSession, charge: Charge, period_key: str) -> Chargeable:
    """Behind the period's lock, which closing the reservation has taken."""
    rows = await session.execute(
        text(
            """
            select greatest(q.overage - (q.billed_tokens - q.carried_tokens), 0) as tokens,
              least(coalesce(p.overage_cap_usd, cast(:cap as numeric)), p.highest_cap_usd)
                - q.billed_usd as usd
            from public.quota_periods q left join public.profiles p on p.id = q.user_id
            where q.user_id = :user_id and q.period_key = :period_key
            """
        ),
        {"user_id": charge.user_id, "period_key": period_key, "cap": charge.default_cap_usd},
    )
    found = rows.mappings().one()
    usd = found["usd"]
    return Chargeable(found["tokens"], None if usd is None else max(usd, Decimal(0)))


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
            """
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
            # Those of the tier that the prompt reached.
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


async def add_outbox(
    session: AsyncSession,
    usage_id: UUID,
    *,
    user_id: UUID,
    customer: str,
    tokens: int,
    extra_tokens: int,
    extra_usd: Decimal,
) -> None:
    """The identifier is the ledger line's id, so that sending twice counts once.

    What goes to the meter is what the ledger charges, in money. A subscription that was made before
    that has a price for `tokens` (all that no credits paid); they go to its meter until its price for
    money is there.

    The time is that of the call's beginning, whenever it settles: it decides which invoice it is on,
    as the reservation decided which allowance. A subscription that began by another clock a moment
    after the call it pays for would not be asked for it; so the period's beginning is the earliest.
    """
    await session.execute(
        text(
            """
            insert into public.usage_outbox (usage_record_id, user_id, identifier,
              stripe_customer_id, meter, tokens, micro_usd, event_at)
            select u.id, :user_id, :identifier, :customer,
              case when as_tokens.is then :token_meter else :money_meter end,
              case when as_tokens.is then :tokens else :extra_tokens end,
              case when as_tokens.is then null else cast(:micro_usd as bigint) end,
              case when q.period_start < now() + interval '4 minutes'
                then greatest(r.created_at, q.period_start) else r.created_at end
            from public.usage_records u
              join public.reservations r on r.id = u.reservation_id
              join public.quota_periods q on q.user_id = r.user_id and q.period_key = r.period_key
              cross join lateral (
                select coalesce((
                  select r.created_at < s.tokens_until from public.subscriptions s
                  where s.id = split_part(r.period_key, ':', 1)
                ), false) as is
              ) as_tokens
            where u.id = :usage_id
              and (as_tokens.is or cast(:micro_usd as bigint) > 0)
            """
        ),
        {
            "usage_id": usage_id,
            "user_id": user_id,
            "identifier": f"usage-{usage_id}",
            "customer": customer,
            "tokens": tokens,
            "extra_tokens": extra_tokens,
            "micro_usd": int(extra_usd * 1_000_000),
            "token_meter": TOKEN_METER,
            "money_meter": EXTRA_USAGE_METER,
        },
    )


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


def renew_leases(request_ids: Sequence[UUID]) -> Question[frozenset[UUID]]:
    """Renew what is still open; what is missing from the answer was closed by the recovery."""
    query: LiteralString = """
        update public.reservations
        set lease_expires_at = now() + make_interval(secs => %(lease)s)
        where id = any(%(ids)s) and state = 'open' returning id
        """
    parameters = {"ids": list(request_ids), "lease": LEASE_SECONDS}
    return Question(((query, parameters),), lambda answers: frozenset(r["id"] for r in answers[0]))


def clock() -> Question[datetime]:
    """The database's time, at this moment."""
    return Question((("select clock_timestamp() as at", {}),), lambda answers: answers[0][0]["at"])


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
    # As they were when it was reserved; None where the release before has reserved it.
    models: Sequence[Mapping[str, Any]] | None
    failed_before: bool


async def claim_abandoned(
    session: AsyncSession, limit: int, *, until: datetime | None = None
) -> Sequence[Abandoned]:
    """Take over reservations whose lease ran out. Their lease is renewed for the taker, so that
    several recoveries share the work and a recovery that dies leaves it to the next. One that could
    not be recovered waits for its next try.

    Args:
        until: by the database's clock; nothing is taken later than that.
    """
    rows = await session.execute(
        text(
            """
            update public.reservations r
            set lease_expires_at = now() + make_interval(secs => :lease)
            where r.id in (
              select id from public.reservations o
              where state = 'open' and lease_expires_at < now()
                and (cast(:until as timestamptz) is null or clock_timestamp() <= :until)
                and not exists (
                  select 1 from private.job_failures f
                  where f.job = 'recover_replies' and f.item = o.id::text
                    and (f.next_attempt_at is null or f.next_attempt_at > now())
                )
              order by lease_expires_at limit :limit for update of o skip locked
            )
            returning r.id as request_id, r.user_id, r.conversation_id, r.message_id, r.purpose,
              r.plan, r.model, r.weight, r.prompt_count, r.max_tokens, r.models,
              exists (
                select 1 from private.job_failures f
                where f.job = 'recover_replies' and f.item = r.id::text
              ) as failed_before,
              -- None on the free tier, and once the account is gone: its reservation still settles.
              case when not r.free_tier then (
                select p.stripe_customer_id from public.profiles p where p.id = r.user_id
              ) end as metered_customer
            """
        ),
        {"lease": LEASE_SECONDS, "limit": limit, "until": until},
    )
    return [Abandoned(**row) for row in rows.mappings()]


_ALLOWANCE = text(
    """
    with period as (
      select coalesce(cast(:period_key as text), 'month:' || to_char(m.starts, 'YYYY-MM')) as key,
        coalesce(cast(:period_start as timestamptz), m.starts at time zone 'UTC') as starts,
        coalesce(cast(:period_end as timestamptz),
          (m.starts + interval '1 month') at time zone 'UTC') as ends
      from (select date_trunc('month', now() at time zone 'UTC') as starts) m
    )
    select p.key as period_key, p.starts as period_start, p.ends as period_end,
      coalesce(q.used - q.carried_tokens, 0) as used, coalesce(q.reserved, 0) as reserved,
      coalesce(q.billed_tokens, 0) as billed_tokens, coalesce(q.billed_usd, 0) as billed_usd,
      coalesce(q.carried_usd, 0) as carried_usd,
      coalesce(q.credited - q.carried_tokens, 0) + coalesce((
        select sum(g.tokens - g.spent)::bigint from public.credit_grants g
        where g.user_id = :user_id and g.spent < g.tokens
          and (g.expires_at is null or g.expires_at > now())
      ), 0) as credits
    from period p
    left join public.quota_periods q on q.user_id = :user_id and q.period_key = p.key
    """
)


async def allowance(
    session: AsyncSession, user_id: UUID, period: Period | None, limits: Limits
) -> Allowance:
    """The running period's allowance, by the database's clock."""
    rows = await session.execute(_ALLOWANCE, {"user_id": user_id, **_period(period)})
    return Allowance(**rows.mappings().one(), included=limits.included, overage=limits.overage)


# Paying -----------------------------------------------------------------------------------------


async def set_customer(session: AsyncSession, user_id: UUID, customer_id: str) -> str:
    """Store a user's customer unless they have one; whichever they have then."""
    rows = await session.execute(
        text(
            """
            update public.profiles set stripe_customer_id = coalesce(stripe_customer_id, :customer)
            where id = :user_id returning stripe_customer_id
            """
        ),
        {"user_id": user_id, "customer": customer_id},
    )
    return str(rows.scalar_one())


async def set_cap(session: AsyncSession, user_id: UUID, usd: Decimal | None) -> None:
    await session.execute(
        text("update public.profiles set overage_cap_usd = :usd where id = :user_id"),
        {"user_id": user_id, "usd": usd},
    )


async def count_subscriptions(session: AsyncSession, user_id: UUID) -> int:
    """Ended ones included."""
    rows = await session.execute(
        text("select count(*) from public.subscriptions where user_id = :user_id"),
        {"user_id": user_id},
    )
    return int(rows.scalar_one())


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
      select u.id, u.created_at as at, u.purpose, u.conversation_id, t.title, r.model as asked,
        u.model, u.prompt_tokens, u.completion_tokens, u.quota_tokens,
        u.overage_usd::text as overage_usd, u.cost_usd::text as cost_usd, u.outcome
      from public.usage_records u
        left join public.reservations r on r.id = u.reservation_id
        left join public.conversations t on t.id = u.conversation_id and t.deleted_at is null
      where u.user_id = :user_id {place}
      order by u.created_at {order}, u.id {order} limit :calls
    ) c
"""
_NEWEST = _CALLS.format(order="desc", place="")
_OLDER = text(
    _CALLS.format(order="desc", place="and (u.created_at, u.id) < (:at, cast(:id as uuid))")
)
_NEWER = text(
    _CALLS.format(order="asc", place="and (u.created_at, u.id) > (:at, cast(:id as uuid))")
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
          from public.refusals
          where user_id = :user_id
            and minute >= ((select today from clock) - (:days - 1)) at time zone 'UTC'
          group by code, (minute at time zone 'UTC')::date
          order by last desc limit :refused
        ) f
      ) as refused
"""
_OVERVIEW = text(_WHOLE_PAGE.format(newest=_NEWEST))


async def overview(
    session: AsyncSession, user_id: UUID, period: Period | None, limits: Limits
) -> Overview:
    """Two round trips: whichever period the allowance is of, the rest follows it."""
    left = await allowance(session, user_id, period, limits)
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
    calls = CallPage(found.calls[:CALLS], older=len(found.calls) > CALLS, newer=False)
    return Overview(left, found.today, found.days, calls, found.refused)


async def older_calls(session: AsyncSession, user_id: UUID, place: Place) -> CallPage:
    found = await _calls_beside(session, _OLDER, user_id, place)
    return CallPage(found[:CALLS], older=len(found) > CALLS, newer=True)


async def newer_calls(session: AsyncSession, user_id: UUID, place: Place) -> CallPage:
    found = await _calls_beside(session, _NEWER, user_id, place)
    if len(found) > CALLS:
        return CallPage(found[:CALLS][::-1], older=True, newer=True)
    # The newest page is a whole one, whatever was added while others were being read.
    values = {"user_id": user_id, "calls": CALLS + 1}
    newest = _calls.validate_python((await session.execute(text(_NEWEST), values)).scalar_one())
    return CallPage(newest[:CALLS], older=len(newest) > CALLS, newer=False)


async def _calls_beside(
    session: AsyncSession, query: sa.TextClause, user_id: UUID, place: Place
) -> tuple[Call, ...]:
    values = {"user_id": user_id, "at": place.at, "id": place.id, "calls": CALLS + 1}
    return _calls.validate_python((await session.execute(query, values)).scalar_one())


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
            """
            with said as (
              select user_id, code, date_trunc('minute', now() - make_interval(secs => age))
                  as minute,
                sum(times)::integer as times, (array_agg(model order by age))[1] as model
              from unnest(cast(:users as uuid[]), cast(:codes as text[]),
                cast(:ages as double precision[]), cast(:times as integer[]),
                cast(:models as text[])) as s (user_id, code, age, times, model)
              group by 1, 2, 3
            ), known as (
              select id from public.profiles where id = any(cast(:users as uuid[]))
              order by id for key share
            )
            insert into public.refusals as r (user_id, code, minute, times, model)
            select s.user_id, s.code, s.minute, s.times, s.model
            from said s join known k on k.id = s.user_id order by 1, 2, 3
            on conflict (user_id, code, minute) do update
              set times = r.times + excluded.times, model = excluded.model
            """
        ),
        {
            "users": [each.user_id for each in lately],
            "codes": [each.code for each in lately],
            "ages": [each.age_seconds for each in lately],
            "times": [each.times for each in lately],
            "models": [each.model for each in lately],
        },
    )
