"""All of the reconciliation's SQL. Days are UTC; its time is the database's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.job_failures.relations import FAILED, NOT_DUE
from aisaas.billing.ports import EXTRA_USAGE_METER
from aisaas.db.engine import PipelinedQuery, Row

# Covers a comparison, including a provider call. If a process dies, another takes over after this.
LEASE_SECONDS = 600.0
# The meter sums up behind the scenes: what is younger may not be in it yet.
SETTLING: LiteralString = "interval '1 hour'"
# The meter accepts nothing older, so nothing could be corrected.
COMPARED: LiteralString = "interval '35 days'"

_ENTERED_UNTIL = text(
    "select entered_until from private.metering where meter = 'ai_tokens_used' for update"
)
_ENTER = text(
    f"""
    with made as (
      select o.stripe_customer_id, (o.event_at at time zone 'UTC')::date as day,
        max(o.created_at) as last
      from public.usage_outbox o
      -- Back a little further each time: a row shows up when its transaction commits.
      where o.created_at > cast(:entered_until as timestamptz) - {SETTLING}
        and o.event_at > now() - {COMPARED}
      group by 1, 2
    )
    insert into public.meter_reconciliations as r (stripe_customer_id, day, next_check_at)
    select stripe_customer_id, day,
      greatest(now(), (day + 1)::timestamp at time zone 'UTC' + {SETTLING})
    from made order by 1, 2
    on conflict (stripe_customer_id, day) do update
      set next_check_at = excluded.next_check_at
      where r.next_check_at is null and r.checked_at < (
        select m.last from made m
        where m.stripe_customer_id = excluded.stripe_customer_id and m.day = excluded.day
      )
    """  # noqa: S608  # intervals of ours
)
_ENTERED = text("update private.metering set entered_until = now() where meter = 'ai_tokens_used'")


async def enter_days(session: AsyncSession) -> None:
    """Note every customer and day that got rows since this was done last, by whomever."""
    entered_until = (await session.execute(_ENTERED_UNTIL)).scalar_one()
    await session.execute(_ENTER, {"entered_until": entered_until})
    await session.execute(_ENTERED)


@dataclass(frozen=True, slots=True)
class CustomerDay:
    """What is to be compared: from `start` to before `end`, a day in UTC."""

    customer: str
    day: date
    start: datetime
    end: datetime
    failed_before: bool = False


async def enter_day(session: AsyncSession, customer: str, day: date) -> CustomerDay | None:
    """A day requested for comparison; None until it is over and settled."""
    rows = await session.execute(_ENTER_DAY, {"customer": customer, "day": day})
    row = rows.mappings().one()
    return CustomerDay(customer, day, row["start"], row["end"]) if row["over"] else None


async def customers_of(session: AsyncSession, day: date) -> Sequence[str]:
    """Customers with usage on that day, in order."""
    rows = await session.execute(_CUSTOMERS, {"day": day})
    return rows.scalars().all()


async def compare_again(session: AsyncSession, customer: str, day: date) -> None:
    """Something was done about its rows: what was compared of it may not hold any more."""
    await session.execute(_AGAIN_SOON, {"customer": customer, "day": day})


_ENTER_DAY = text(
    f"""
    with span as (
      select cast(:day as date)::timestamp at time zone 'UTC' as start,
        (cast(:day as date) + 1)::timestamp at time zone 'UTC' as end
    ), over as (
      select span.*, span.end + {SETTLING} <= now() as over from span
    ), entered as (
      insert into public.meter_reconciliations (stripe_customer_id, day, next_check_at)
      select :customer, cast(:day as date), now() from over where over.over
      on conflict (stripe_customer_id, day) do nothing
    )
    select over.start, over.end, over.over from over
    """  # noqa: S608  # an interval of ours
)
_CUSTOMERS = text(
    """
    select distinct stripe_customer_id from public.usage_outbox
    where event_at >= cast(:day as date)::timestamp at time zone 'UTC'
      and event_at < (cast(:day as date) + 1)::timestamp at time zone 'UTC'
    union
    select stripe_customer_id from public.meter_reconciliations where day = cast(:day as date)
    order by 1
    """
)
_AGAIN_SOON = text(
    f"""
    update public.meter_reconciliations
    set next_check_at = greatest(now(), (day + 1)::timestamp at time zone 'UTC' + {SETTLING})
    where stripe_customer_id = :customer and day = :day
    """  # noqa: S608
)


def claim_days(limit: int) -> PipelinedQuery[Sequence[CustomerDay]]:
    """Claim due days; they are ours until the lease runs out."""
    query: LiteralString = f"""
        update public.meter_reconciliations r
        set next_check_at = now() + make_interval(secs => %(lease)s)
        where (r.stripe_customer_id, r.day) in (
          select stripe_customer_id, day from public.meter_reconciliations d
          where next_check_at <= now() and not exists (
            select 1 from {NOT_DUE} f
            where f.job = 'reconcile_usage' and f.item = d.stripe_customer_id || ' ' || d.day
          )
          order by next_check_at limit %(limit)s for update of d skip locked
        )
        returning r.stripe_customer_id as customer, r.day,
          exists (
            select 1 from {FAILED} f
            where f.job = 'reconcile_usage' and f.item = r.stripe_customer_id || ' ' || r.day
          ) as failed_before,
          r.day::timestamp at time zone 'UTC' as start,
          (r.day + 1)::timestamp at time zone 'UTC' as end
        """  # noqa: S608  # relations of ours
    return PipelinedQuery(
        ((query, {"lease": LEASE_SECONDS, "limit": limit}),),
        lambda answers: [CustomerDay(**row) for row in answers[0]],
    )


@dataclass(frozen=True, slots=True)
class LedgerDay:
    """A customer's day in the ledger, in units of its meter (millionths of a dollar, or tokens), by
    outcome. It excludes waived usage, and corrections, which only make up for sent rows that the
    meter lacks.

    `unsure` is the part of pending rows that may have been sent; `correcting` and
    `parked_corrections` are corrections on their way; `parked_ids` are the parked rows, corrections
    included; `recent` means something was sent or taken back so lately that the meter may not show
    it yet; `settled` is the part of the drift that was settled elsewhere. `meters` holds two on the
    day a subscription moves from one to the other.
    """

    total: int
    sent: int
    pending: int
    unsure: int
    parked: int
    dead: int
    correcting: int
    parked_corrections: int
    parked_ids: Sequence[UUID]
    meters: Sequence[str]
    recent: bool
    settled: int

    @property
    def moving(self) -> bool:
        """What the meter has may still change, or isn't known."""
        on_its_way = self.pending or self.parked or self.correcting or self.parked_corrections
        return bool(on_its_way or self.recent)


_SUMS: LiteralString = f"""
    with rows as (
      select id, coalesce(micro_usd, tokens) as value, meter, state, first_sent_at, sent_at, usage_record_id is null as correction
      from public.usage_outbox
      where stripe_customer_id = %(customer)s and event_at >= %(start)s and event_at < %(end)s
    ), known as (
      select settled_tokens, corrected_at from public.meter_reconciliations
      where stripe_customer_id = %(customer)s and day = %(day)s
    )
    select coalesce(sum(value) filter (where not correction and state <> 'waived'), 0)::bigint
        as total,
      coalesce(sum(value) filter (where not correction and state = 'sent'), 0)::bigint as sent,
      coalesce(sum(value) filter (where not correction and state = 'pending'), 0)::bigint as pending,
      coalesce(sum(value) filter (where state = 'pending' and first_sent_at is not null), 0)::bigint
        as unsure,
      coalesce(sum(value) filter (where not correction and state = 'parked'), 0)::bigint as parked,
      coalesce(sum(value) filter (where not correction and state = 'dead'), 0)::bigint as dead,
      coalesce(sum(value) filter (where correction and state = 'pending'), 0)::bigint as correcting,
      coalesce(sum(value) filter (where correction and state = 'parked'), 0)::bigint
        as parked_corrections,
      coalesce(array_agg(id order by id) filter (where state = 'parked'), '{{}}') as parked_ids,
      coalesce(array_agg(distinct meter), '{{}}') as meters,
      coalesce(bool_or(state = 'sent' and sent_at > now() - {SETTLING}), false)
        or coalesce((select corrected_at > now() - {SETTLING} from known), false) as recent,
      coalesce((select settled_tokens from known), 0) as settled
    from rows
    """  # noqa: S608  # an interval of ours


def ledger_day(of: CustomerDay) -> PipelinedQuery[LedgerDay]:
    parameters = {"customer": of.customer, "day": of.day, "start": of.start, "end": of.end}
    return PipelinedQuery(((_SUMS, parameters),), lambda answers: LedgerDay(**answers[0][0]))


def resolve_parked(ids: Sequence[UUID], *, counted: bool) -> PipelinedQuery[int]:
    """Resolve rows as all counted by the meter, or none; returns how many were still parked."""
    query: LiteralString = """
        update public.usage_outbox
        set state = case when %(counted)s then 'sent' else 'pending' end,
          sent_at = case when %(counted)s then now() end,
          first_sent_at = case when %(counted)s then first_sent_at end,
          -- The provider may still repeat its former answer to the former key.
          failures = failures + (not %(counted)s::boolean)::integer,
          next_attempt_at = now(), last_error = null
        where id = any(%(ids)s) and state = 'parked' returning id
        """
    parameters = {"ids": list(ids), "counted": counted}
    return PipelinedQuery(((query, parameters),), lambda answers: len(answers[0]))


_AGAIN: LiteralString = f"""
    case when r.day >= (now() at time zone 'UTC') - {COMPARED}
      then now() + make_interval(secs => %(again)s) end
    """


def put_off(of: CustomerDay, again_seconds: float) -> PipelinedQuery[None]:
    """It could not be compared; what is known of it stays as it is."""
    query: LiteralString = f"""
        update public.meter_reconciliations r set next_check_at = {_AGAIN}
        where r.stripe_customer_id = %(customer)s and r.day = %(day)s returning 1
        """  # noqa: S608
    parameters = {"customer": of.customer, "day": of.day, "again": again_seconds}
    return PipelinedQuery(((query, parameters),), lambda _: None)


def record(
    of: CustomerDay, ledger: LedgerDay, meter: int, *, again_seconds: float
) -> PipelinedQuery[int]:
    """Keep what was compared, and return the drift. What is settled is not looked at again."""
    query: LiteralString = f"""
        update public.meter_reconciliations r
        set meter = coalesce(%(of)s, r.meter), ledger_tokens = %(total)s, pending_tokens = %(pending)s, meter_tokens = %(meter)s,
          checked_at = now(),
          next_check_at = case
            when %(meter)s - %(total)s = r.settled_tokens and %(pending)s = 0
              and not %(moving)s::boolean then null
            else {_AGAIN} end
        where r.stripe_customer_id = %(customer)s and r.day = %(day)s
        returning r.drift
        """  # noqa: S608
    parameters = {
        "customer": of.customer,
        "day": of.day,
        "of": EXTRA_USAGE_METER if EXTRA_USAGE_METER in ledger.meters else None,
        "total": ledger.total,
        "pending": ledger.pending + ledger.parked,
        "meter": meter,
        "moving": bool(ledger.correcting or ledger.parked_corrections),
        "again": again_seconds,
    }
    return PipelinedQuery(((query, parameters),), lambda answers: answers[0][0]["drift"])


def counts() -> PipelinedQuery[Row]:
    """Metrics over all users and processes."""
    query: LiteralString = """
        select coalesce(sum(abs(drift - settled_tokens)), 0)::double precision as meter_drift_tokens
        from public.meter_reconciliations where drift <> settled_tokens
        """
    return PipelinedQuery(((query, {}),), lambda answers: answers[0][0])
