"""The SQL of one user's subscriptions, for admins. All of it runs as the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger.relations import WRITE_OFFS

LINES = 30


@dataclass(frozen=True, slots=True)
class HeldSubscription:
    """A subscription as last seen; `page` is its page at the payment provider. `written_off_usd` is
    extra usage that is never invoiced, because the subscription ended after failed payments."""

    id: str
    customer_id: str
    status: str
    plan: str | None
    period_start: datetime | None
    period_end: datetime | None
    cancel_at: datetime | None
    trial_end: datetime | None
    created_at: datetime
    written_off_usd: Decimal
    page: str | None = None


async def subscriptions(session: AsyncSession, user_id: UUID) -> Sequence[HeldSubscription]:
    rows = await session.execute(
        text(
            f"""
            select id, stripe_customer_id as customer_id, status, plan,
              current_period_start as period_start, current_period_end as period_end, cancel_at,
              trial_end, created_at, coalesce((
                select sum(w.usd) from {WRITE_OFFS} w
                where w.user_id = s.user_id and w.subscription_id = s.id
              ), 0) as written_off_usd
            from public.subscriptions s where user_id = :id order by created_at desc, id limit :lines
            """  # noqa: S608  # a relation of ours
        ),
        {"id": user_id, "lines": LINES},
    )
    return [HeldSubscription(**row) for row in rows.mappings()]
