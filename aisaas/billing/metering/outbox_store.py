"""All of the outbox's SQL. Its time is the database's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger.relations import LINES
from aisaas.billing.metering.models import MeteringHealth
from aisaas.billing.ports import EXTRA_USAGE_METER, TOKEN_METER
from aisaas.billing.reservations.relations import PERIODS, RESERVATIONS
from aisaas.billing.subscriptions.relations import SUBSCRIPTIONS
from aisaas.db.engine import PipelinedQuery, Row

# How long a claim holds: a call, and what is around it, with a good margin.
LEASE_SECONDS = 30.0
# Below what the provider takes, over all processes; spread, with no more than this at once.
CALLS_PER_SECOND = 500.0
BURST_SECONDS = 0.2

_CLAIM: LiteralString = """
    select id, claim, identifier, customer, meter, value, event_at, failures, attempts, fresh
    from private.claim_meter_events(
      %(limit)s, %(after)s, %(lease)s, %(per_second)s, %(burst)s, %(meters)s)
    """
_ROOM_IN: LiteralString = """
    select greatest(0, extract(epoch from greatest(
      paused_until, spent_until - make_interval(secs => %(burst)s)) - clock_timestamp()
    ))::double precision as seconds
    from private.metering where meter = 'ai_tokens_used'
    """


@dataclass(frozen=True, slots=True)
class ClaimedUsage:
    """A row that is ours to send until its lease runs out. `attempts` counts this one; `fresh` when
    no earlier one can have reached the meter."""

    id: UUID
    claim: UUID
    identifier: str
    customer: str
    meter: str
    value: int
    event_at: datetime
    failures: int
    attempts: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """`room_in` are seconds until anything more may be claimed, 0 for at once."""

    rows: Sequence[ClaimedUsage]
    room_in: float


def claim(limit: int, after: str) -> PipelinedQuery[Claimed]:
    """Customers behind `after` have their turn first."""
    parameters = {
        "limit": limit,
        "after": after,
        "lease": LEASE_SECONDS,
        "per_second": CALLS_PER_SECOND,
        "burst": BURST_SECONDS,
        "meters": [EXTRA_USAGE_METER, TOKEN_METER],
    }

    def read(answers: Sequence[Sequence[Row]]) -> Claimed:
        rows, (room,) = answers
        return Claimed([ClaimedUsage(**row) for row in rows], room["seconds"])

    return PipelinedQuery(((_CLAIM, parameters), (_ROOM_IN, parameters)), read)


# An outcome is written only while the claim holds: a process that took the row over knows better.


def sent(row: ClaimedUsage) -> PipelinedQuery[bool]:
    query: LiteralString = """
        update public.usage_outbox
        set state = 'sent', sent_at = now(), last_error = null, claim = null, claimed_until = null
        where id = %(id)s and claim = %(claim)s returning 1
        """
    return _ended(query, row)


def dead(row: ClaimedUsage, reason: str) -> PipelinedQuery[bool]:
    """Refused for good. The provider remembers this answer too, so a revived row needs a new key."""
    query: LiteralString = """
        update public.usage_outbox
        set state = 'dead', last_error = %(reason)s, failures = failures + 1,
          claim = null, claimed_until = null
        where id = %(id)s and claim = %(claim)s returning 1
        """
    return _ended(query, row, reason=reason)


def parked(row: ClaimedUsage, reason: str) -> PipelinedQuery[bool]:
    """It may be counted or not: the comparison of its day, or an admin, decides."""
    query: LiteralString = """
        update public.usage_outbox
        set state = 'parked', last_error = %(reason)s, claim = null, claimed_until = null
        where id = %(id)s and claim = %(claim)s returning 1
        """
    return _ended(query, row, reason=reason)


def postponed(
    row: ClaimedUsage, reason: str, seconds: float, *, undone: bool, answered: bool
) -> PipelinedQuery[bool]:
    """Try again in `seconds`. With `undone` this try surely has not reached the meter."""
    query: LiteralString = """
        update public.usage_outbox
        set next_attempt_at = now() + make_interval(secs => %(seconds)s), last_error = %(reason)s,
          failures = failures + %(answered)s::boolean::integer,
          first_sent_at = case when %(forget)s then null else first_sent_at end,
          claim = null, claimed_until = null
        where id = %(id)s and claim = %(claim)s returning 1
        """
    return _ended(
        query,
        row,
        reason=reason,
        seconds=seconds,
        answered=answered,
        forget=undone and row.fresh,
    )


def _ended(query: LiteralString, row: ClaimedUsage, **more: object) -> PipelinedQuery[bool]:
    parameters = {"id": row.id, "claim": row.claim, **more}
    return PipelinedQuery(((query, parameters),), lambda answers: bool(answers[0]))


def pause(seconds: float) -> PipelinedQuery[None]:
    """Stop all processes from claiming for `seconds`."""
    query: LiteralString = """
        update private.metering set paused_until =
          greatest(paused_until, clock_timestamp() + make_interval(secs => %(seconds)s))
        where meter = 'ai_tokens_used' returning 1
        """
    return PipelinedQuery(((query, {"seconds": seconds}),), lambda _: None)


def health() -> PipelinedQuery[MeteringHealth]:
    query: LiteralString = """
        select
          (select count(*) from public.usage_outbox where state = 'pending') as pending,
          (select count(*) from public.usage_outbox where state = 'parked') as parked,
          (select count(*) from public.usage_outbox where state = 'dead') as dead,
          (select extract(epoch from now() - min(event_at))::double precision
            from public.usage_outbox where state = 'pending') as oldest_seconds
        """
    return PipelinedQuery(((query, {}),), lambda answers: MeteringHealth(**answers[0][0]))


async def today(session: AsyncSession) -> date:
    """UTC."""
    return (await session.execute(text("select (now() at time zone 'UTC')::date"))).scalar_one()


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

    The meter receives what the ledger charges, in money. An older subscription has a price for
    `tokens` (all not paid by credits); those go to its token meter until it has a price for money.

    The time is the call's start, whenever it settles: it decides the invoice, as the reservation
    decided the allowance. By the provider's clock a subscription may start just after the call it
    pays for, which would then not be billed; so the time is never before the period's start.
    """
    await session.execute(
        text(
            f"""
            insert into public.usage_outbox (usage_record_id, user_id, identifier,
              stripe_customer_id, meter, tokens, micro_usd, event_at)
            select u.id, :user_id, :identifier, :customer,
              case when as_tokens.is then :token_meter else :money_meter end,
              case when as_tokens.is then :tokens else :extra_tokens end,
              case when as_tokens.is then null else cast(:micro_usd as bigint) end,
              case when q.period_start < now() + interval '4 minutes'
                then greatest(r.created_at, q.period_start) else r.created_at end
            from {LINES} u
              join {RESERVATIONS} r on r.id = u.reservation_id
              join {PERIODS} q on q.user_id = r.user_id and q.period_key = r.period_key
              cross join lateral (
                select coalesce((
                  select r.created_at < s.tokens_until from {SUBSCRIPTIONS} s
                  where s.id = split_part(r.period_key, ':', 1)
                ), false) as is
              ) as_tokens
            where u.id = :usage_id
              and (as_tokens.is or cast(:micro_usd as bigint) > 0)
            """  # noqa: S608  # relations of ours
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


async def give_up(session: AsyncSession, user_id: UUID, customer_id: str) -> None:
    """On what waits for a customer who was deleted: it can't be reported any more."""
    await session.execute(
        text(
            "update public.usage_outbox set state = 'dead', last_error = 'customer_deleted'"
            " where user_id = :id and stripe_customer_id = :customer and state = 'pending'"
        ),
        {"id": user_id, "customer": customer_id},
    )


def counts() -> PipelinedQuery[Row]:
    """Metrics over all users and processes."""
    query: LiteralString = """
        select
          (select count(*) from public.usage_outbox where state = 'pending') as outbox_pending,
          (select count(*) from public.usage_outbox where state = 'parked') as outbox_parked,
          (select count(*) from public.usage_outbox where state = 'dead') as outbox_dead,
          (select coalesce(extract(epoch from now() - min(event_at)), 0)::double precision
            from public.usage_outbox where state = 'pending') as outbox_lag_seconds
        """
    return PipelinedQuery(((query, {}),), lambda answers: answers[0][0])
