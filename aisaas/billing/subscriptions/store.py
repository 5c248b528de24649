"""The SQL of subscriptions and webhooks. All of it runs as the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts import plans
from aisaas.accounts.plans import HeldPlan
from aisaas.accounts.relations import PROFILES
from aisaas.billing.job_failures.relations import NOT_DUE
from aisaas.billing.job_failures.reports import failed_items
from aisaas.billing.metering import outbox_store
from aisaas.billing.plans.models import FINAL_STATUSES, Entitlement
from aisaas.billing.plans.periods import key_of
from aisaas.billing.ports import PaidSubscription
from aisaas.billing.reservations import store as reservations_store
from aisaas.billing.subscriptions.models import WebhookOutcome
from aisaas.billing.subscriptions.relations import SUBSCRIPTIONS
from aisaas.db.engine import PipelinedQuery, Row

FINAL = sorted(FINAL_STATUSES)
LOOK_JOB: Final = "synchronise_subscriptions"
# Relations: users with a subscription that may change, users with any, and those whose failed look
# isn't due again, named as the job does.
_CHANGING: LiteralString = f"(select user_id from {SUBSCRIPTIONS} s where s.live)"  # noqa: S608
_KNOWN: LiteralString = f"(select user_id from {SUBSCRIPTIONS} s)"  # noqa: S608
_LOOKS_NOT_DUE: LiteralString = f"(select item from {NOT_DUE} f where f.job = '{LOOK_JOB}')"  # noqa: S608
LOOK_AGAIN_SECONDS = 24 * 3600
# How long a process may take over a look it claimed, before another may claim it.
CLAIMED_SECONDS = 600
TaskKind = Literal["end_duplicate", "end_refunded", "release_schedule"]
# When a subscription without a price in money gets one, if known.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


async def lock(session: AsyncSession, of: str) -> None:
    """Look at and write the subscription (or customer) `of` exclusively, until the transaction
    ends."""
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"stripe:{of}"}
    )


# Subscriptions ------------------------------------------------------------------------------------


async def status_of(session: AsyncSession, subscription_id: str) -> str | None:
    """Its status as last seen; None if it never was."""
    row = await session.execute(
        text("select status from public.subscriptions where id = :id"), {"id": subscription_id}
    )
    return row.scalar_one_or_none()


async def owner(
    session: AsyncSession,
    *,
    subscription_id: str | None = None,
    customer_id: str | None = None,
    user_id: UUID | None = None,
) -> UUID | None:
    """Its owner: the stored one, else the one Checkout passed along (`user_id`)."""
    row = await session.execute(
        text(
            f"""
            select found.id from (
              select 1 as rank, user_id as id from public.subscriptions where id = :subscription
              union all
              select 2, id from {PROFILES} p where stripe_customer_id = :customer
              union all
              select 3, user_id from public.subscriptions where stripe_customer_id = :customer
              union all
              select 4, id from {PROFILES} p where id = :user_id
            ) found
            order by rank limit 1
            """  # noqa: S608  # relations of ours
        ),
        {"subscription": subscription_id, "customer": customer_id, "user_id": user_id},
    )
    return row.scalar_one_or_none()


async def put(session: AsyncSession, user_id: UUID, seen: PaidSubscription) -> None:
    """Store a subscription as it was seen. One that has ended for good stays ended."""
    await session.execute(
        text(
            """
            insert into public.subscriptions as s (id, user_id, stripe_customer_id, status, plan,
              price_id, item_id, current_period_start, current_period_end, cancel_at_period_end,
              cancel_at, trial_end, past_due_since, period_tokens, next_plan, tokens_until,
              created_at)
            values (:id, :user_id, :customer, :status, :plan, :price, :item, :period_start,
              :period_end, :at_period_end, :cancel_at, :trial_end, :unpaid_since, :period_tokens,
              :next_plan,
              case when :bills_tokens then case when :bills_money then now() else :never end end,
              :created_at)
            on conflict (id) do update set status = excluded.status, plan = excluded.plan,
              price_id = excluded.price_id, item_id = excluded.item_id,
              current_period_start = excluded.current_period_start,
              current_period_end = excluded.current_period_end,
              cancel_at_period_end = excluded.cancel_at_period_end,
              cancel_at = excluded.cancel_at, trial_end = excluded.trial_end,
              past_due_since = excluded.past_due_since, period_tokens = excluded.period_tokens,
              next_plan = excluded.next_plan,
              -- Usage goes to the meter of money from when its price was first seen here, and never
              -- back while that is there.
              tokens_until = case when :bills_money then least(s.tokens_until, now())
                else excluded.tokens_until end
            where s.status <> all(:final)
            """
        ),
        {
            "id": seen.id,
            "user_id": user_id,
            "customer": seen.customer_id,
            "status": seen.status,
            "plan": seen.plan,
            "price": seen.price_id,
            "item": seen.item_id,
            "period_start": seen.period_start,
            "period_end": seen.period_end,
            "at_period_end": seen.cancel_at is not None and seen.cancel_at == seen.period_end,
            "cancel_at": seen.cancel_at,
            "trial_end": seen.trial_end,
            "unpaid_since": seen.unpaid_since,
            "period_tokens": seen.period_tokens,
            "next_plan": seen.next_plan,
            "bills_tokens": seen.bills_tokens,
            "bills_money": seen.bills_money,
            "never": NEVER,
            "created_at": seen.created_at,
            "final": FINAL,
        },
    )


async def suspend(session: AsyncSession, subscription_id: str, paid_at: datetime) -> bool:
    """A payment that was made at `paid_at` went back; whether it was for the period that runs."""
    rows = await session.execute(
        text(
            """
            update public.subscriptions set suspended_period = current_period_start
            where id = :id and status <> all(:final) and current_period_start <= :paid_at
            returning 1
            """
        ),
        {"id": subscription_id, "final": FINAL, "paid_at": paid_at},
    )
    return rows.first() is not None


async def end(session: AsyncSession, subscription_ids: Sequence[str]) -> None:
    """End subscriptions that the payment provider reports as gone and no longer shows."""
    await session.execute(
        text(
            "update public.subscriptions set status = 'canceled'"
            " where id = any(:ids) and status <> all(:final)"
        ),
        {"ids": list(subscription_ids), "final": FINAL},
    )


async def live_ids(session: AsyncSession, customer_id: str) -> Sequence[str]:
    """The stored subscriptions of a customer that haven't ended for good."""
    rows = await session.execute(
        text(
            "select id from public.subscriptions"
            " where stripe_customer_id = :customer and status <> all(:final) order by id"
        ),
        {"customer": customer_id, "final": FINAL},
    )
    return rows.scalars().all()


async def subscriptions_of(session: AsyncSession, user_id: UUID) -> Sequence[PaidSubscription]:
    rows = await session.execute(
        text(
            """
            select id, stripe_customer_id as customer_id, user_id, status, plan, price_id, item_id,
              current_period_start as period_start, current_period_end as period_end, cancel_at,
              trial_end, past_due_since as unpaid_since, period_tokens, next_plan,
              coalesce(suspended_period = current_period_start, false) as suspended, created_at
            from public.subscriptions where user_id = :user_id order by created_at, id
            """
        ),
        {"user_id": user_id},
    )
    return [PaidSubscription(**row) for row in rows.mappings()]


# Entitlements that follow from them ------------------------------------------------------------------


async def write_entitlement(session: AsyncSession, user_id: UUID, has: Entitlement) -> None:
    """The only place where an account's plan and what belongs to it is written. The account is locked."""
    key = key_of(has.subscription_id, has.period_start)
    before = await plans.held(session, user_id)
    if (
        before is not None
        and key is not None
        and before.plan != has.plan
        and (before.subscription_id, before.period_start) == (has.subscription_id, has.period_start)
    ):
        await reservations_store.carry(session, user_id, key)
    await plans.write(
        session,
        user_id,
        HeldPlan(
            plan=has.plan,
            status=has.status,
            subscription_id=has.subscription_id,
            customer_id=has.customer_id,
            period_start=has.period_start,
            period_end=has.period_end,
            ends_at=has.ends_at,
            period_tokens=has.period_tokens,
            period_spent_usd=await reservations_store.carried_usd(session, user_id, key),
            next_plan=has.next_plan,
        ),
    )


async def forget_customer(session: AsyncSession, user_id: UUID, customer_id: str) -> None:
    """Unlink a customer who was deleted, and give up on usage that can't be reported any more. The
    ledger stays as it is."""
    await plans.unlink_customer(session, user_id, customer_id)
    await outbox_store.give_up(session, user_id, customer_id)


# Looking again ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """A user to look up at the payment provider."""

    user_id: UUID
    customer_ids: tuple[str, ...]
    failed_before: bool


async def claim_looks(session: AsyncSession, limit: int) -> Sequence[Look]:
    """Users with a subscription that may change, with a customer but no known subscription, or
    whose plan has just ended while another one may go on."""
    claimed = await plans.claim_looks(
        session,
        limit,
        CLAIMED_SECONDS,
        changing=_CHANGING,
        known=_KNOWN,
        not_due=_LOOKS_NOT_DUE,
    )
    rows = await session.execute(
        text(
            f"select user_id, stripe_customer_id from {SUBSCRIPTIONS} s"  # noqa: S608  # a relation of ours
            " where s.user_id = any(:ids) and s.live"
        ),
        {"ids": list(claimed)},
    )
    customers = {user_id: {customer} - {None} for user_id, customer in claimed.items()}
    for user_id, customer in rows.all():
        customers[user_id].add(customer)
    failed = await failed_items(session, LOOK_JOB, [str(user_id) for user_id in claimed])
    return [
        Look(user_id, tuple(sorted(filter(None, ids))), str(user_id) in failed)
        for user_id, ids in customers.items()
    ]


async def add_task(
    session: AsyncSession, kind: TaskKind, subscription_id: str, user_id: UUID
) -> None:
    """Something is to be done about it at the provider; once, however often it is found out."""
    await session.execute(
        text(
            "insert into private.subscription_tasks (kind, subscription_id, user_id)"
            " values (:kind, :subscription, :user_id) on conflict do nothing"
        ),
        {"kind": kind, "subscription": subscription_id, "user_id": user_id},
    )


# Events -------------------------------------------------------------------------------------------


async def add_event(session: AsyncSession, event_id: str, kind: str) -> bool:
    """False when it was handled before. Waits for a transaction that is handling it right now."""
    row = await session.execute(
        text(
            "insert into public.processed_webhook_events (id, type) values (:id, :type)"
            " on conflict (id) do nothing returning 1"
        ),
        {"id": event_id, "type": kind},
    )
    return row.first() is not None


async def close_event(
    session: AsyncSession,
    event_id: str,
    *,
    outcome: WebhookOutcome,
    customer_id: str | None,
    subscription_id: str | None,
    note: str | None,
) -> None:
    """Say what became of it; earlier failures of it are resolved."""
    values: dict[str, Any] = {
        "id": event_id,
        "outcome": outcome,
        "customer": customer_id,
        "subscription": subscription_id,
        "note": note,
    }
    await session.execute(
        text(
            "update public.processed_webhook_events set outcome = :outcome,"
            " customer_id = :customer, subscription_id = :subscription, note = :note"
            " where id = :id"
        ),
        values,
    )
    await session.execute(
        text(
            "update public.webhook_failures set resolved_at = now()"
            " where event_id = :id and resolved_at is null"
        ),
        {"id": event_id},
    )


async def add_failure(session: AsyncSession, event_id: str, kind: str, code: str) -> None:
    """Record a try that was rolled back. Another delivery of the event may have succeeded since."""
    await session.execute(
        text(
            """
            insert into public.webhook_failures as f (event_id, type, last_error, resolved_at)
            values (:id, :type, :code, (
              select now() from public.processed_webhook_events where id = :id
            ))
            on conflict (event_id) do update set attempts = f.attempts + 1,
              last_error = excluded.last_error, last_at = excluded.last_at,
              resolved_at = excluded.resolved_at
            """
        ),
        {"id": event_id, "type": kind, "code": code},
    )


# Paying -----------------------------------------------------------------------------------------


def count_on_token_meter() -> PipelinedQuery[int]:
    """Live subscriptions whose usage still goes to the token meter."""
    query: LiteralString = """
        select count(*) as found from public.subscriptions
        where tokens_until > now() and status not in ('canceled', 'incomplete_expired')
        """
    return PipelinedQuery(((query, {}),), lambda answers: answers[0][0]["found"])


async def count_subscriptions(session: AsyncSession, user_id: UUID) -> int:
    """Ended ones included."""
    rows = await session.execute(
        text("select count(*) from public.subscriptions where user_id = :user_id"),
        {"user_id": user_id},
    )
    return int(rows.scalar_one())


def counts() -> PipelinedQuery[Row]:
    """Metrics over all users and processes."""
    query: LiteralString = """
        select count(*) as webhook_failures_open
        from public.webhook_failures where resolved_at is null
        """
    return PipelinedQuery(((query, {}),), lambda answers: answers[0][0])
