"""Requests a minute, exactly, and a day, about; the minute knows which requests the day has counted.

Parallel replies are not counted here but as open reservations in Postgres, where they survive a flush
(docs/decisions/0003).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from aisaas.accounts.ports import Limiter, Window
from aisaas.billing.plans.models import RateLimits

MINUTE = 60
DAY = 86_400


@dataclass(frozen=True, slots=True)
class RateDecision:
    """`limited_by` is None when the request may proceed; otherwise wait `retry_after` seconds, until
    `retry_at` by the limiter's clock: ours may be wrong, and only the limiter's decides."""

    limited_by: Literal["minute", "day"] | None
    retry_after: float = 0.0
    retry_at: datetime | None = None


class Rates:
    """Every method raises DependencyError, within 300 ms, when it can't tell. Callers refuse."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def acquire(self, user_id: UUID, request_id: UUID, limits: RateLimits) -> RateDecision:
        """Count a request in both windows or in none; the same request id counts once."""
        full = await self._limiter.acquire(request_id, _windows(user_id, limits))
        if full is None:
            return RateDecision(None)
        minute, day = full.waits
        # The day's limit doesn't matter to the user before the minute is over.
        if minute:
            return RateDecision("minute", minute, full.after(minute))
        return RateDecision("day", day, full.after(day))

    async def release(self, user_id: UUID, request_id: UUID) -> None:
        """Release what a request took that was refused later."""
        await self._limiter.release(request_id, _windows(user_id, RateLimits(0, 0)))


def _windows(user_id: UUID, limits: RateLimits) -> tuple[Window, ...]:
    group = f"rate:{{{user_id}}}"
    return (
        Window("minute", limits.per_minute, MINUTE, group),
        Window("day", limits.per_day, DAY, group, exact=False),
    )
