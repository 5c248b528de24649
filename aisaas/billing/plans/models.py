"""What a plan allows, a subscription's status, and a user as billing knows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol
from uuid import UUID

from aisaas.accounts.models import GrantingSubscription


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
    # The running period's allowance, where an upgrade has made it differ from the plan's.
    period_tokens: int | None = None
    # The plan that begins when the period ends, where it is another one.
    next_plan: str | None = None


class Entitled(Protocol):
    """What decides how much a user may use: a `BillingAccount`, or a user an admin looks at."""

    @property
    def plan(self) -> str: ...
    @property
    def subscription_status(self) -> str: ...
    @property
    def subscription(self) -> GrantingSubscription | None: ...
    @property
    def overage_cap_usd(self) -> Decimal | None: ...
    @property
    def tokens_per_month(self) -> int | None: ...
    @property
    def highest_cap_usd(self) -> Decimal | None: ...
    @property
    def metered_customer(self) -> str | None: ...
    @property
    def read_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class BillingAccount:
    """A user as billing knows them at `read_at`, by the database's clock. `plan` is the one in effect
    then."""

    user_id: UUID
    # To whom bills are addressed.
    email: str
    full_name: str
    plan: str
    subscription_status: str
    # None on the free plan, and for a plan granted without a subscription.
    subscription: GrantingSubscription | None
    # When the plan ends, if it was canceled or isn't paid for.
    plan_ends_at: datetime | None
    metered_customer: str | None
    # The user's own spending cap; None for the plan's.
    overage_cap_usd: Decimal | None
    # Limits of this account; None means the plan's.
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_month: int | None
    parallel_replies: int | None
    highest_cap_usd: Decimal | None
    read_at: datetime
