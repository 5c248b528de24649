"""The SQL of subscriptions over all users, for admins. All of it runs as the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.ledger.usage_models import Span


@dataclass(frozen=True, slots=True)
class Change:
    """So many subscriptions more (or less) of a plan from that day on."""

    plan: str
    day: date
    more: int


async def subscription_changes(
    session: AsyncSession, span: Span, plans: Sequence[str]
) -> Sequence[Change]:
    """Changes in the number of subscriptions in good standing in a span; earlier ones count from its
    first day. A subscription counts from the day its trial ends until the day before it was seen
    ended, or began to owe; its plan is the current one."""
    rows = await session.execute(
        text(
            """
            with paid as (
              select plan, (greatest(created_at, trial_end) at time zone 'UTC')::date as starts,
                (least(past_due_since, case when status = 'canceled' then updated_at end)
                  at time zone 'UTC')::date as ends
              from public.subscriptions
              where plan = any(:plans)
                and status in ('active', 'trialing', 'past_due', 'unpaid', 'canceled')
            )
            select plan, day, sum(more)::bigint as more from (
              select plan, greatest(starts, :first) as day, 1 as more from paid
                where starts <= :last and (ends is null or ends > greatest(starts, :first))
              union all
              select plan, ends, -1 from paid
                where ends <= :last and ends > greatest(starts, :first) and starts <= :last
            ) c group by 1, 2
            """
        ),
        {"plans": list(plans), "first": span.first, "last": span.last},
    )
    return [Change(**row) for row in rows.mappings()]
