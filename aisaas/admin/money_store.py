"""The SQL of money's health. All of it runs as the service; its time is the database's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

OutboxState = Literal["pending", "sent", "dead", "parked", "waived"]

# Usage on its way ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutboxHealth:
    """Rows by state; those that were sent only of the last day. `oldest_seconds` is the age of the
    oldest that waits, `rest_seconds` how long all senders still rest."""

    pending: int
    parked: int
    dead: int
    waived: int
    sent_lately: int
    oldest_seconds: float | None
    rest_seconds: float


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A row of the outbox. `email` is None when the account is gone; a correction is in no ledger;
    `final` when it can't be sent any more: too old for the meter, or its customer was deleted."""

    id: UUID
    identifier: str
    customer: str
    user_id: UUID
    email: str | None
    tokens: int
    event_at: datetime
    day: date
    state: OutboxState
    attempts: int
    last_error: str | None
    first_sent_at: datetime | None
    next_attempt_at: datetime
    sent_at: datetime | None
    correction: bool
    final: bool


async def outbox_health(session: AsyncSession) -> OutboxHealth:
    rows = await session.execute(
        text(
            """
            select
              (select count(*) from public.usage_outbox where state = 'pending') as pending,
              (select count(*) from public.usage_outbox where state = 'parked') as parked,
              (select count(*) from public.usage_outbox where state = 'dead') as dead,
              (select count(*) from public.usage_outbox where state = 'waived') as waived,
              (select count(*) from public.usage_outbox
                where state = 'sent' and created_at > now() - interval '1 day') as sent_lately,
              (select extract(epoch from now() - min(event_at))::double precision
                from public.usage_outbox where state = 'pending') as oldest_seconds,
              (select greatest(0, extract(epoch from paused_until - now()))::double precision
                from private.metering where meter = 'ai_tokens_used') as rest_seconds
            """
        )
    )
    return OutboxHealth(**rows.mappings().one())


# The meter takes nothing older; a customer who is gone is asked for nothing.
_FINAL = "(o.event_at <= now() - interval '35 days' or o.last_error = 'customer_deleted')"
_ENTRY = f"""
    select o.id, o.identifier, o.stripe_customer_id as customer, o.user_id, p.email, o.tokens,
      o.event_at, (o.event_at at time zone 'UTC')::date as day, o.state, o.attempts, o.last_error,
      o.first_sent_at, o.next_attempt_at, o.sent_at, o.usage_record_id is null as correction,
      coalesce({_FINAL}, false) as final
    from public.usage_outbox o left join public.profiles p on p.id = o.user_id
    """  # noqa: S608  # text of ours


async def outbox_entries(
    session: AsyncSession,
    states: Sequence[OutboxState],
    *,
    search: str,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[OutboxEntry]:
    """The newest usage first, that older than `before`. `search` is an identifier, a customer or an
    address, or the beginning of one."""
    rows = await session.execute(
        text(
            f"""
            {_ENTRY}
            where o.state = any(:states)
              and (:search = '' or starts_with(o.identifier, :search)
                or starts_with(o.stripe_customer_id, :search)
                or starts_with(lower(p.email), lower(:search)))
              and (cast(:at as timestamptz) is null
                or (o.event_at, o.id) < (cast(:at as timestamptz), cast(:id as uuid)))
            order by o.event_at desc, o.id desc limit :limit
            """
        ),
        {
            "states": list(states),
            "search": search,
            "at": before[0] if before else None,
            "id": before[1] if before else None,
            "limit": limit,
        },
    )
    return [OutboxEntry(**row) for row in rows.mappings()]


async def outbox_rows(session: AsyncSession, ids: Sequence[UUID]) -> Sequence[OutboxEntry]:
    rows = await session.execute(
        text(f"{_ENTRY} where o.id = any(:ids) order by o.event_at, o.id"), {"ids": list(ids)}
    )
    return [OutboxEntry(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class Moved:
    """A row whose state an admin has changed, and what it was before."""

    id: UUID
    customer: str
    day: date
    tokens: int
    was: OutboxState
    error: str | None


async def resend(session: AsyncSession, ids: Sequence[UUID]) -> Sequence[Moved]:
    """Those that are dead or parked wait to be sent again.

    A dead row that was refused at once surely never reached the meter; else it may have, by an earlier
    try: then it keeps the time of that, and is parked and compared if that is too long ago.
    """
    rows = await session.execute(
        text(
            f"""
            with wanted as (
              select o.id, o.state, o.last_error, o.state = 'parked' or o.attempts <= 1 as anew
              from public.usage_outbox o
              where o.id = any(:ids) and o.state in ('dead', 'parked')
                and not coalesce({_FINAL}, false)
              order by o.id for update
            )
            update public.usage_outbox o
            set state = 'pending', last_error = null, next_attempt_at = now(),
              -- The provider repeats its answers to a key for a day: what it lacks is asked as if anew.
              failures = o.failures + (w.state = 'parked')::integer,
              attempts = case when w.anew then 0 else o.attempts end,
              first_sent_at = case when w.anew then null else o.first_sent_at end
            from wanted w where o.id = w.id
            returning o.id, o.stripe_customer_id as customer,
              (o.event_at at time zone 'UTC')::date as day, o.tokens, w.state as was,
              w.last_error as error
            """  # noqa: S608
        ),
        {"ids": list(ids)},
    )
    return [Moved(**row) for row in rows.mappings()]


async def resolve(session: AsyncSession, ids: Sequence[UUID], *, counted: bool) -> Sequence[Moved]:
    """Parked rows that are counted become sent; dead and parked ones that aren't are waived."""
    rows = await session.execute(
        text(
            """
            with wanted as (
              select o.id, o.state, o.last_error from public.usage_outbox o
              where o.id = any(:ids)
                and (o.state = 'parked' or o.state = 'dead' and not :counted)
              order by o.id for update
            )
            update public.usage_outbox o
            set state = case when :counted then 'sent' else 'waived' end,
              sent_at = case when :counted then now() else o.sent_at end
            from wanted w where o.id = w.id
            returning o.id, o.stripe_customer_id as customer,
              (o.event_at at time zone 'UTC')::date as day, o.tokens, w.state as was,
              w.last_error as error
            """
        ),
        {"ids": list(ids), "counted": counted},
    )
    return [Moved(**row) for row in rows.mappings()]


# What came from the provider ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WebhookHealth:
    """Events that failed and weren't handled since, the oldest's age, and those handled in a day."""

    failed: int
    oldest_seconds: float | None
    handled_lately: int
    unknown_lately: int


@dataclass(frozen=True, slots=True)
class WebhookEntry:
    """An event. `status` is its outcome, or failed; `failures` are tries that were rolled back, and
    `error` the code of the last of them; `at` is when it was handled, or failed last."""

    id: str
    type: str
    status: str
    note: str | None
    customer: str | None
    subscription: str | None
    error: str | None
    failures: int
    first_failed_at: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class WebhookFailed:
    type: str
    error: str


async def webhook_health(session: AsyncSession) -> WebhookHealth:
    rows = await session.execute(
        text(
            """
            select
              (select count(*) from public.webhook_failures where resolved_at is null) as failed,
              (select extract(epoch from now() - min(first_at))::double precision
                from public.webhook_failures where resolved_at is null) as oldest_seconds,
              count(*) as handled_lately,
              count(*) filter (where outcome in ('unknown_customer', 'unknown_price', 'stale'))
                as unknown_lately
            from public.processed_webhook_events where created_at > now() - interval '1 day'
            """
        )
    )
    return WebhookHealth(**rows.mappings().one())


async def webhook_entries(
    session: AsyncSession,
    *,
    failed: bool,
    search: str,
    before: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[WebhookEntry]:
    """Newest first, those older than `before`."""
    rows = await session.execute(
        text(
            """
            (
              select e.id, e.type, e.outcome as status, e.note, e.customer_id as customer,
                e.subscription_id as subscription, f.last_error as error,
                coalesce(f.attempts, 0) as failures, f.first_at as first_failed_at,
                e.created_at as at
              from public.processed_webhook_events e
                left join public.webhook_failures f on f.event_id = e.id
              where not :failed
                and (:search = '' or starts_with(e.id, :search) or starts_with(e.type, :search)
                  or starts_with(e.customer_id, :search)
                  or starts_with(e.subscription_id, :search))
                and (cast(:at as timestamptz) is null
                  or (e.created_at, e.id) < (cast(:at as timestamptz), :id))
              order by e.created_at desc, e.id desc limit :limit
            )
            union all
            (
              select f.event_id, f.type, 'failed', null, null, null, f.last_error, f.attempts,
                f.first_at, f.last_at
              from public.webhook_failures f
              where f.resolved_at is null
                and (:search = '' or starts_with(f.event_id, :search)
                  or starts_with(f.type, :search))
                and (cast(:at as timestamptz) is null
                  or (f.last_at, f.event_id) < (cast(:at as timestamptz), :id))
              order by f.last_at desc, f.event_id desc limit :limit
            )
            order by at desc, id desc limit :limit
            """
        ),
        {
            "failed": failed,
            "search": search,
            "at": before[0] if before else None,
            "id": before[1] if before else "",
            "limit": limit,
        },
    )
    return [WebhookEntry(**row) for row in rows.mappings()]


async def webhook_failure(session: AsyncSession, event_id: str) -> WebhookFailed | None:
    rows = await session.execute(
        text("select type, last_error as error from public.webhook_failures where event_id = :id"),
        {"id": event_id},
    )
    row = rows.mappings().one_or_none()
    return WebhookFailed(**row) if row else None


async def webhook_outcome(session: AsyncSession, event_id: str) -> str | None:
    rows = await session.execute(
        text("select outcome from public.processed_webhook_events where id = :id"),
        {"id": event_id},
    )
    return rows.scalar_one_or_none()


# Ledger and meter ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DriftHealth:
    """Days that differ, the tokens that the meter lacks and has too much on them, and days to be
    compared."""

    days: int
    missing: int
    surplus: int
    due: int


@dataclass(frozen=True, slots=True)
class DayEntry:
    """A customer's day as it was compared last. `drift` is what the meter has too much, or lacks when
    it is below zero; `settled` what of it was settled elsewhere."""

    customer: str
    day: date
    email: str | None
    ledger: int
    pending: int
    meter: int
    drift: int
    settled: int
    checked_at: datetime | None
    corrected_at: datetime | None


async def drift_health(session: AsyncSession) -> DriftHealth:
    rows = await session.execute(
        text(
            """
            select count(*) as days,
              coalesce(sum(settled_tokens - drift) filter (where drift < settled_tokens), 0)::bigint
                as missing,
              coalesce(sum(drift - settled_tokens) filter (where drift > settled_tokens), 0)::bigint
                as surplus,
              (select count(*) from public.meter_reconciliations where next_check_at <= now()) as due
            from public.meter_reconciliations
            where drift <> settled_tokens and checked_at is not null
            """
        )
    )
    return DriftHealth(**rows.mappings().one())


async def day_entries(
    session: AsyncSession,
    *,
    differing: bool,
    search: str,
    before: tuple[date, str] | None,
    limit: int,
) -> Sequence[DayEntry]:
    """The newest days first, those behind `before`."""
    only = "and r.drift <> r.settled_tokens" if differing else ""
    rows = await session.execute(
        text(
            f"""
            select r.stripe_customer_id as customer, r.day, p.email, r.ledger_tokens as ledger,
              r.pending_tokens as pending, r.meter_tokens as meter, r.drift,
              r.settled_tokens as settled, r.checked_at, r.corrected_at
            from public.meter_reconciliations r
              left join public.profiles p on p.stripe_customer_id = r.stripe_customer_id
            where r.checked_at is not null {only}
              and (:search = '' or starts_with(r.stripe_customer_id, :search)
                or starts_with(lower(p.email), lower(:search)))
              and (cast(:day as date) is null or r.day < cast(:day as date)
                or r.day = cast(:day as date) and r.stripe_customer_id > :customer)
            order by r.day desc, r.stripe_customer_id limit :limit
            """  # noqa: S608  # text of ours
        ),
        {
            "search": search,
            "day": before[0] if before else None,
            "customer": before[1] if before else "",
            "limit": limit,
        },
    )
    return [DayEntry(**row) for row in rows.mappings()]


async def claim_day(session: AsyncSession, customer: str, day: date) -> bool:
    """Whoever corrects a day does it alone, and once an hour. False: somebody did."""
    rows = await session.execute(
        text(
            """
            update public.meter_reconciliations
            set corrected_at = now(), next_check_at = now() + interval '1 hour'
            where stripe_customer_id = :customer and day = :day
              and (corrected_at is null or corrected_at <= now() - interval '1 hour')
            returning 1
            """
        ),
        {"customer": customer, "day": day},
    )
    return rows.first() is not None


async def add_correction(session: AsyncSession, customer: str, day: date, tokens: int) -> bool:
    """One more event of that day, at the time of its last usage; whether the period that this is in
    is over. Its identifier follows from the day and from how many there were."""
    rows = await session.execute(
        text(
            """
            insert into public.usage_outbox (user_id, identifier, stripe_customer_id, tokens, event_at)
            select last.user_id, format('correction-%s-%s-%s', cast(:customer as text),
                cast(:day as date), before.number),
              :customer, :tokens, last.event_at
            from (
              select user_id, event_at from public.usage_outbox
              where stripe_customer_id = :customer
                and event_at >= cast(:day as date)::timestamp at time zone 'UTC'
                and event_at < (cast(:day as date) + 1)::timestamp at time zone 'UTC'
              order by event_at desc limit 1
            ) last, (
              select count(*) as number from public.usage_outbox
              where stripe_customer_id = :customer and usage_record_id is null
                and event_at >= cast(:day as date)::timestamp at time zone 'UTC'
                and event_at < (cast(:day as date) + 1)::timestamp at time zone 'UTC'
            ) before
            returning coalesce((
              select p.period_start > usage_outbox.event_at from public.profiles p
              where p.id = usage_outbox.user_id
            ), true)
            """
        ),
        {"customer": customer, "day": day, "tokens": tokens},
    )
    return rows.scalar_one()


@dataclass(frozen=True, slots=True)
class SentEvent:
    identifier: str
    tokens: int


async def cancellable(
    session: AsyncSession, customer: str, day: date, surplus: int
) -> SentEvent | None:
    """The smallest event of that day with at least so many tokens that the provider, surely within
    the last day, received for the first time."""
    rows = await session.execute(
        text(
            """
            select identifier, tokens from public.usage_outbox
            where stripe_customer_id = :customer and state = 'sent' and tokens >= :surplus
              and event_at >= cast(:day as date)::timestamp at time zone 'UTC'
              and event_at < (cast(:day as date) + 1)::timestamp at time zone 'UTC'
              and first_sent_at > now() - interval '23 hours'
            order by tokens, id limit 1
            """
        ),
        {"customer": customer, "day": day, "surplus": surplus},
    )
    row = rows.mappings().one_or_none()
    return SentEvent(**row) if row else None


async def settle_drift(session: AsyncSession, customer: str, day: date) -> int:
    """All of the drift is settled; the tokens that weren't before."""
    rows = await session.execute(
        text(
            """
            with before as (
              select settled_tokens from public.meter_reconciliations
              where stripe_customer_id = :customer and day = :day for update
            )
            update public.meter_reconciliations r
            set settled_tokens = r.drift, next_check_at = now()
            from before
            where r.stripe_customer_id = :customer and r.day = :day
              and r.drift <> before.settled_tokens
            returning r.drift - before.settled_tokens
            """
        ),
        {"customer": customer, "day": day},
    )
    return rows.scalar_one_or_none() or 0
