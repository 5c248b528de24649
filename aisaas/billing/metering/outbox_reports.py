"""The SQL of usage on its way to the meter. All of it runs as the service; its time is the database's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.relations import PROFILES
from aisaas.db.paging import Cursor, Keyset, Moment, Page

OutboxState = Literal["pending", "sent", "dead", "parked", "waived"]


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
    """A row of the outbox. `email` is None when the account is gone; a correction has no ledger line;
    `final` when it can no longer be sent: too old for the meter, or its customer was deleted."""

    id: UUID
    identifier: str
    customer: str
    user_id: UUID
    email: str | None
    tokens: int
    micro_usd: int | None
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


# The meter accepts nothing older; a deleted customer can't be billed.
_FINAL = "(o.event_at <= now() - interval '35 days' or o.last_error = 'customer_deleted')"
_ENTRY = f"""
    select o.id, o.identifier, o.stripe_customer_id as customer, o.user_id, p.email, o.tokens,
      o.micro_usd, o.event_at, (o.event_at at time zone 'UTC')::date as day, o.state, o.attempts, o.last_error,
      o.first_sent_at, o.next_attempt_at, o.sent_at, o.usage_record_id is null as correction,
      coalesce({_FINAL}, false) as final
    from public.usage_outbox o left join {PROFILES} p on p.id = o.user_id
    """  # noqa: S608  # text of ours


_PAGED: Keyset[OutboxEntry, datetime, UUID] = Keyset(
    "o.event_at", "o.id", lambda entry: Cursor(entry.event_at, entry.id)
)


async def outbox_entries(
    session: AsyncSession,
    states: Sequence[OutboxState],
    *,
    search: str,
    before: Moment | None,
    limit: int,
) -> Page[OutboxEntry, datetime, UUID]:
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
              and {_PAGED.behind}
            {_PAGED.page}
            """
        ),
        {
            "states": list(states),
            "search": search,
            **_PAGED.values(before, limit),
        },
    )
    return _PAGED.cut([OutboxEntry(**row) for row in rows.mappings()], limit)


async def outbox_rows(session: AsyncSession, ids: Sequence[UUID]) -> Sequence[OutboxEntry]:
    rows = await session.execute(
        text(f"{_ENTRY} where o.id = any(:ids) order by o.event_at, o.id"), {"ids": list(ids)}
    )
    return [OutboxEntry(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class Moved:
    """A row whose state an admin changed, and its previous state."""

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
              select o.id, o.state, o.last_error, o.state = 'parked' or o.attempts <= 1 as fresh
              from public.usage_outbox o
              where o.id = any(:ids) and o.state in ('dead', 'parked')
                and not coalesce({_FINAL}, false)
              order by o.id for update
            )
            update public.usage_outbox o
            set state = 'pending', last_error = null, next_attempt_at = now(),
              -- The provider repeats its answers to a key for a day: a row that it lacks is sent as if for the first time.
              failures = o.failures + (w.state = 'parked')::integer,
              attempts = case when w.fresh then 0 else o.attempts end,
              first_sent_at = case when w.fresh then null else o.first_sent_at end
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
