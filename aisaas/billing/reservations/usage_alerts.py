"""Notifies once per period when 80, 90 and 100 % of the included tokens, or of the cap, are used.

Recorded in the transaction that books the call which crossed the line; mailed later.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.notices.notices import add_notice
from aisaas.billing.reservations.store import Closed

PERCENTS = (100, 90, 80)
WHOLE = 100


def crossed(before: int, after: int, limit: int) -> int | None:
    """The highest of PERCENTS that is reached by `after` and was not by `before`."""
    if limit <= 0:
        return None
    for percent in PERCENTS:
        line = limit * percent
        if before * WHOLE < line <= after * WHOLE:
            return percent
    return None


async def note_alerts(
    session: AsyncSession, user_id: UUID, plan: str, closed: Closed, *, tokens: int
) -> None:
    """Record what a call of `tokens` crossed; `closed` is the period after it."""
    # Usage before an upgrade doesn't count against the new allowance.
    used = closed.used - closed.carried
    beyond = closed.used - closed.period_credited - closed.included
    lines = {
        "allowance": (used - tokens, used, closed.included),
        "cap": (beyond - (tokens - closed.credited), beyond, closed.overage),
    }
    for kind, (before, after, limit) in lines.items():
        percent = crossed(max(before, 0), after, limit)
        if percent is not None:
            await add_notice(
                session,
                user_id,
                f"{kind}_{percent}",
                f"{kind}_{percent}:{user_id}:{closed.period_key}",
                {
                    "plan": plan,
                    "used": used,
                    "included": closed.included,
                    "beyond": max(beyond, 0),
                    "overage": closed.overage,
                    "period_end": closed.period_end.isoformat(),
                },
            )
