"""The SQL of an account's plan, and of its paying customer.

Accounts store it; billing decides it, reads it along with the session of every call, and is the only
caller of the writes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.models import GrantingSubscription


@dataclass(frozen=True, slots=True)
class HeldPlan:
    """A plan and its source. `period_spent_usd` was charged in this period before the plan began."""

    plan: str
    status: str
    subscription_id: str | None
    customer_id: str | None
    period_start: datetime | None
    period_end: datetime | None
    ends_at: datetime | None
    period_tokens: int | None
    period_spent_usd: Decimal
    next_plan: str | None


def granting(row: dict[str, Any]) -> GrantingSubscription | None:
    """The subscription behind the current plan; None on the free plan, or for a plan granted without
    one. Removes its columns from the row."""
    given, start, end = (
        row.pop(name) for name in ("subscription_id", "period_start", "period_end")
    )
    tokens, spent = row.pop("period_tokens"), row.pop("period_spent_usd")
    following = row.pop("next_plan")
    if row["plan"] == "free" or given is None or start is None or end is None:
        return None
    return GrantingSubscription(given, start, end, tokens, spent, following)


async def lock(session: AsyncSession, user_id: UUID) -> datetime | None:
    """Lock a user while their plan is derived. Returns the database's time, or None without a user.

    No other transaction can write their plan; conversations can still be started.
    """
    row = await session.execute(
        text(
            "select clock_timestamp() from public.profiles where id = :id for no key update of"
            " profiles"
        ),
        {"id": user_id},
    )
    return row.scalar_one_or_none()


async def held(session: AsyncSession, user_id: UUID) -> HeldPlan | None:
    """The plan as stored, even if it has ended; None without a user."""
    rows = await session.execute(
        text(
            """
            select plan, subscription_status as status, subscription_id,
              stripe_customer_id as customer_id, period_start, period_end, plan_ends_at as ends_at,
              period_tokens, period_spent_usd, next_plan
            from public.profiles where id = :id
            """
        ),
        {"id": user_id},
    )
    row = rows.mappings().one_or_none()
    return HeldPlan(**row) if row else None


async def write(session: AsyncSession, user_id: UUID, has: HeldPlan) -> None:
    """Write a plan. This never unlinks a customer."""
    await session.execute(
        text(
            """
            update public.profiles
            set plan = :plan, subscription_status = :status, subscription_id = :subscription_id,
              period_start = :period_start, period_end = :period_end, plan_ends_at = :ends_at,
              stripe_customer_id = coalesce(:customer_id, stripe_customer_id),
              period_tokens = :period_tokens, period_spent_usd = :period_spent_usd,
              next_plan = :next_plan
            where id = :id
            """
        ),
        {"id": user_id, **asdict(has)},
    )


async def set_customer(session: AsyncSession, user_id: UUID, customer_id: str) -> str:
    """Store a user's customer unless they have one; returns the stored one."""
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


async def unlink_customer(session: AsyncSession, user_id: UUID, customer_id: str) -> None:
    await session.execute(
        text(
            "update public.profiles set stripe_customer_id = null"
            " where id = :id and stripe_customer_id = :customer"
        ),
        {"id": user_id, "customer": customer_id},
    )


async def set_cap(session: AsyncSession, user_id: UUID, usd: Decimal | None) -> None:
    """Set the user's own spending cap; None for their plan's."""
    await session.execute(
        text("update public.profiles set overage_cap_usd = :usd where id = :user_id"),
        {"user_id": user_id, "usd": usd},
    )


async def claim_looks(
    session: AsyncSession,
    limit: int,
    seconds: float,
    *,
    changing: LiteralString,
    known: LiteralString,
    not_due: LiteralString,
) -> Mapping[UUID, str | None]:
    """Claim users to look up at the payment provider, with their customers. Other processes skip them
    for `seconds`.

    Args:
        changing: a relation `(user_id)` of users whose subscriptions may change.
        known: the same of users who ever had a subscription.
        not_due: a relation `(item)` of ids, as text, that wait for a retry.
    """
    rows = await session.execute(
        text(
            f"""
            with due as (
              select p.id from public.profiles p
              where ((
                  (p.billing_look_at is null or p.billing_look_at <= now())
                  and (
                    exists (select 1 from {changing} c where c.user_id = p.id)
                    or p.stripe_customer_id is not null
                      and not exists (select 1 from {known} k where k.user_id = p.id)
                  )
                )
                -- At once, whenever the next look would be, but not again while one has claimed them.
                or (
                  p.plan <> 'free' and p.plan_ends_at <= now()
                  and (p.billing_look_at is null or p.billing_look_at <= now()
                    or p.billing_look_at > now() + make_interval(secs => :claimed))
                ))
                and not exists (select 1 from {not_due} f where f.item = p.id::text)
              order by p.billing_look_at nulls first
              limit :limit
              for no key update of p skip locked
            )
            update public.profiles p set billing_look_at = now() + make_interval(secs => :claimed)
            from due where p.id = due.id
            returning p.id, p.stripe_customer_id
            """  # noqa: S608  # relations of ours
        ),
        {"limit": limit, "claimed": seconds},
    )
    return {row.id: row.stripe_customer_id for row in rows}


async def look_later(session: AsyncSession, user_id: UUID, seconds: float) -> None:
    await session.execute(
        text(
            "update public.profiles set billing_look_at = now() + make_interval(secs => :seconds)"
            " where id = :id"
        ),
        {"id": user_id, "seconds": seconds},
    )
