"""Billing's tables and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from aisaas.billing.plans.periods import Period
from aisaas.ports import Model, Outcome, Purpose, Usage
from aisaas.prices import Tokens

# Usage that has not reached the meter by then is a reason to look.
LATE_SECONDS = 900.0

# A subscription with one of these never has another status again.
FINAL_STATUSES = frozenset({"canceled", "incomplete_expired"})
SubscriptionStatus = Literal["free", "active", "past_due", "cancelled", "trialing"]
WebhookOutcome = Literal["done", "ignored", "unknown_customer", "unknown_price", "stale"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Quota tokens of a period: what is included, and what may be used beyond it at a price.

    `capped` when it is a spending cap that ends it, be it one of nothing.
    """

    included: int
    overage: int = 0
    capped: bool = False


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a user has because of all of their subscriptions.

    From `ends_at` on the plan is free, without any further event. The period is that of
    `subscription_id`, which grants the plan; `customer_id` is whose meter usage goes to.
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


@dataclass(frozen=True, slots=True)
class Allowance:
    """Quota tokens of the running period, in the order in which they are used: what is included,
    then `credits` (those taken in this period and those that are there), then `overage`, which
    costs extra. `left` and `beyond` never go below zero.

    `billed_tokens` and `billed_usd` are all that was charged in this period: what the invoice will
    say. Of that, `carried_usd` was charged before an upgrade, and its tokens aren't part of `used`.
    """

    period_key: str
    period_start: datetime
    period_end: datetime
    used: int
    reserved: int
    included: int
    credits: int = 0
    overage: int = 0
    billed_tokens: int = 0
    billed_usd: Decimal = Decimal(0)
    carried_usd: Decimal = Decimal(0)

    @property
    def limit(self) -> int:
        return self.included + self.credits + self.overage

    @property
    def left(self) -> int:
        return max(self.limit - self.used - self.reserved, 0)

    @property
    def beyond(self) -> int:
        """What was used of the overage."""
        return max(self.used - self.included - self.credits, 0)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a call wants to hold, at worst."""

    request_id: UUID
    user_id: UUID
    conversation_id: UUID | None
    message_id: UUID | None
    purpose: Purpose
    plan: str
    models: tuple[Model, ...]
    prompt_estimate: int
    prompt_count: int
    max_tokens: int
    min_tokens: int
    # None for the calendar month.
    period: Period | None
    limits: Limits
    # None: this call doesn't count as one of the parallel replies.
    parallel: int | None
    free_tier: bool
    # Kill switches any of which stops this call.
    switches: frozenset[str]
    # The newest change of any model that `models` go by.
    models_revision: int


@dataclass(frozen=True, slots=True)
class Held:
    """What an open reservation holds: the worst case of its call."""

    quota_tokens: int
    cost_usd: Decimal
    prompt_tokens: int
    completion_tokens: int


LossReason = Literal["report", "overrun", "reservation", "failed"]


@dataclass(frozen=True, slots=True)
class ProviderBill:
    """What a provider may bill for an attempt, whatever its user is charged. `reported` is None where it
    reported nothing; `reason` is why it may be more than the charge."""

    model: Model
    reason: LossReason
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    reported: Usage | None
    # Our own count of what was sent, and of what came.
    counted_prompt_tokens: int
    counted_completion_tokens: int

    @property
    def tokens(self) -> Tokens:
        """By kind, where the provider distinguishes them."""
        reported = self.reported or Usage(0, 0)
        return Tokens(
            prompt=self.prompt_tokens,
            completion=self.completion_tokens,
            cached=self.cached_prompt_tokens,
            cache_write=reported.cache_write_tokens,
            cache_write_1h=reported.cache_write_1h_tokens,
            thinking=reported.thinking_tokens,
            region=reported.region,
        ).within(self.prompt_tokens, self.completion_tokens)


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call used, to be booked once, and never beyond what it holds."""

    request_id: UUID
    user_id: UUID
    conversation_id: UUID | None
    message_id: UUID | None
    purpose: Purpose
    plan: str
    model: Model
    # Quota tokens per token: never more than the model that was asked for weighs.
    weight: Decimal
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    counted_by: str
    outcome: Outcome
    # The Stripe customer whose meter this goes to; None for the free tier.
    metered_customer: str | None
    # USD per million quota tokens beyond what is included, by the plan's price of now.
    overage_usd_per_million: Decimal = Decimal(0)
    # The plan's default cap on extra usage per period. None: no cap.
    default_cap_usd: Decimal | None = None
    # Why the provider's report wasn't believed.
    report_issue: str | None = None
    thinking_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    region: str = ""

    @property
    def tokens(self) -> Tokens:
        """By kind: what its cost is computed from. Kinds never exceed what they are part of."""
        return Tokens(
            prompt=self.prompt_tokens,
            completion=self.completion_tokens,
            cached=self.cached_prompt_tokens,
            cache_write=self.cache_write_tokens,
            cache_write_1h=self.cache_write_1h_tokens,
            thinking=self.thinking_tokens,
            region=self.region,
        ).within(self.prompt_tokens, self.completion_tokens)


@dataclass(frozen=True, slots=True)
class DayUse:
    """What one model took on one day (UTC); `in_period` when it counted against the allowance of
    now. `tokens` are quota tokens; `replies` leaves titles out."""

    day: date
    model: str
    in_period: bool
    replies: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Call:
    """A receipt: a line of the ledger, and what it was for as far as that still exists."""

    id: UUID
    at: datetime
    purpose: Purpose
    conversation_id: UUID | None
    # None when the conversation was deleted.
    title: str | None
    # What was asked for; None where nobody knows it any more. `model` answered.
    asked: str | None
    model: str
    prompt_tokens: int
    completion_tokens: int
    quota_tokens: int
    # What it costs its owner beyond what the plan includes, and what it cost the operator.
    overage_usd: Decimal
    cost_usd: Decimal
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of receipts begins or ends: a receipt's time, and its id for equal times."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class CallPage:
    """Receipts, newest first, and whether there are more in either direction."""

    calls: Sequence[Call]
    older: bool
    newer: bool


@dataclass(frozen=True, slots=True)
class RefusedDay:
    """How often one reason refused somebody on one day, and when last."""

    code: str
    last: datetime
    times: int
    model: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that somebody's own page of usage shows; `today` is the database's."""

    allowance: Allowance
    today: date
    days: Sequence[DayUse]
    calls: CallPage
    refused: Sequence[RefusedDay]


@dataclass(frozen=True, slots=True)
class MeteringHealth:
    """Rows of the outbox that are not in the meter, by state, and the age of the oldest that waits."""

    pending: int
    # Whether the meter has them is not known.
    parked: int
    # Refused for good: an admin has to look.
    dead: int
    oldest_seconds: float | None

    @property
    def late(self) -> bool:
        """Something keeps usage from the meter."""
        return self.oldest_seconds is not None and self.oldest_seconds > LATE_SECONDS
