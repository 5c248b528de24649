"""The SQL of ledger and meter. All of it runs as the service; its time is the database's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.relations import PROFILES
from aisaas.billing.ports import TOKEN_METER
from aisaas.db.paging import Cursor, Keyset, Page


@dataclass(frozen=True, slots=True)
class DriftHealth:
    """Days that differ, what the meter lacks and has too much on them (tokens, or millionths of a dollar
    on days that are counted in money), and days to be compared."""

    days: int
    missing: int
    surplus: int
    missing_micro_usd: int
    surplus_micro_usd: int
    due: int


@dataclass(frozen=True, slots=True)
class DayEntry:
    """A customer's day as it was compared last, in what its meter counts. `drift` is what the meter has in excess, or is missing when
    it is below zero; `settled` what of it was settled elsewhere."""

    customer: str
    day: date
    email: str | None
    meter_name: str
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
              coalesce(sum(settled_tokens - drift)
                filter (where drift < settled_tokens and meter = :tokens), 0)::bigint as missing,
              coalesce(sum(drift - settled_tokens)
                filter (where drift > settled_tokens and meter = :tokens), 0)::bigint as surplus,
              coalesce(sum(settled_tokens - drift)
                filter (where drift < settled_tokens and meter <> :tokens), 0)::bigint
                as missing_micro_usd,
              coalesce(sum(drift - settled_tokens)
                filter (where drift > settled_tokens and meter <> :tokens), 0)::bigint
                as surplus_micro_usd,
              (select count(*) from public.meter_reconciliations where next_check_at <= now()) as due
            from public.meter_reconciliations
            where drift <> settled_tokens and checked_at is not null
            """
        ),
        {"tokens": TOKEN_METER},
    )
    return DriftHealth(**rows.mappings().one())


_PAGED: Keyset[DayEntry, date, str] = Keyset(
    "r.day",
    "r.stripe_customer_id",
    lambda entry: Cursor(entry.day, entry.customer),
    types=("date", "text"),
    ids_up=True,
)


async def day_entries(
    session: AsyncSession,
    *,
    differing: bool,
    search: str,
    before: Cursor[date, str] | None,
    limit: int,
) -> Page[DayEntry, date, str]:
    """The newest days first, those behind `before`."""
    only = "and r.drift <> r.settled_tokens" if differing else ""
    rows = await session.execute(
        text(
            f"""
            select r.stripe_customer_id as customer, r.day, p.email, r.meter as meter_name,
              r.ledger_tokens as ledger,
              r.pending_tokens as pending, r.meter_tokens as meter, r.drift,
              r.settled_tokens as settled, r.checked_at, r.corrected_at
            from public.meter_reconciliations r
              left join {PROFILES} p on p.stripe_customer_id = r.stripe_customer_id
            where r.checked_at is not null {only}
              and (:search = '' or starts_with(r.stripe_customer_id, :search)
                or starts_with(lower(p.email), lower(:search)))
              and {_PAGED.behind}
            {_PAGED.page}
            """  # noqa: S608  # text of ours
        ),
        {"search": search, **_PAGED.values(before, limit)},
    )
    return _PAGED.cut([DayEntry(**row) for row in rows.mappings()], limit)


async def claim_day(session: AsyncSession, customer: str, day: date) -> bool:
    """Claim a day for one correction an hour. False if it was corrected within the hour."""
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


async def add_correction(session: AsyncSession, customer: str, day: date, value: int) -> bool:
    """One more event of that day, at the time of its last usage; whether the period that this is in
    is over. Its identifier follows from the day and from how many there were."""
    rows = await session.execute(
        text(
            f"""
            insert into public.usage_outbox (user_id, identifier, stripe_customer_id, meter, tokens,
              micro_usd, event_at)
            select last.user_id, format('correction-%s-%s-%s', cast(:customer as text),
                cast(:day as date), before.number),
              :customer, last.meter, case when last.micro_usd is null then :value else 0 end,
              case when last.micro_usd is not null then :value end, last.event_at
            from (
              select user_id, meter, micro_usd, event_at from public.usage_outbox
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
              select p.period_start > usage_outbox.event_at from {PROFILES} p
              where p.id = usage_outbox.user_id
            ), true)
            """  # noqa: S608  # relations of ours
        ),
        {"customer": customer, "day": day, "value": value},
    )
    return rows.scalar_one()


@dataclass(frozen=True, slots=True)
class SentEvent:
    identifier: str
    meter: str
    value: int


async def cancellable(
    session: AsyncSession, customer: str, day: date, surplus: int
) -> SentEvent | None:
    """The smallest event of that day that counts for at least so much and that the provider, surely
    within the last day, received for the first time."""
    rows = await session.execute(
        text(
            """
            select identifier, meter, coalesce(micro_usd, tokens) as value
            from public.usage_outbox
            where stripe_customer_id = :customer and state = 'sent'
              and coalesce(micro_usd, tokens) >= :surplus
              and event_at >= cast(:day as date)::timestamp at time zone 'UTC'
              and event_at < (cast(:day as date) + 1)::timestamp at time zone 'UTC'
              and first_sent_at > now() - interval '23 hours'
            order by 3, id limit 1
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
