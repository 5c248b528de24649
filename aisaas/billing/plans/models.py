"""What a plan allows, and a subscription's status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests a user may start."""

    per_minute: int
    per_day: int


# Usage that has not reached the meter by then is a reason to look.
LATE_SECONDS = 900.0

# A subscription with one of these never has another status again.
FINAL_STATUSES = frozenset({"canceled", "incomplete_expired"})
SubscriptionStatus = Literal["free", "active", "past_due", "cancelled", "trialing"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Quota tokens of a period: the included ones, and those that may be used beyond at a price.

    `capped` when a spending cap ends it, even a cap of zero.
    """

    included: int
    overage: int = 0
    capped: bool = False


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a user has because of all of their subscriptions.

    From `ends_at` on the plan is free, without any further event. The period is that of
    `subscription_id`, which grants the plan; usage goes to the meter of `customer_id`.
    """

    plan: str
    status: SubscriptionStatus
    subscription_id: str | None = None
    customer_id: str | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    ends_at: datetime | None = None
    # What the running period includes, where an upgrade has made it another number than the plan's.
    period_tokens: int | None = None
    # The plan that begins when the period ends, where it is another one.
    next_plan: str | None = None
