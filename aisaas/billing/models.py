"""Billing's tables and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from aisaas.billing.periods import Period
from aisaas.ports import TOKEN_METER, Model, Outcome, Purpose, Usage
from aisaas.prices import Tokens

Timestamp = sa.DateTime(timezone=True)
Usd = sa.Numeric(14, 6)
# Usage that has not reached the meter by then is a reason to look.
LATE_SECONDS = 900.0

# A subscription with one of these never has another status again.
FINAL_STATUSES = frozenset({"canceled", "incomplete_expired"})
SubscriptionStatus = Literal["free", "active", "past_due", "cancelled", "trialing"]
WebhookOutcome = Literal["done", "ignored", "unknown_customer", "unknown_price", "stale"]


class QuotaPeriod(SQLModel, table=True):
    """A user's allowance in one period. The period is a key: nothing is ever reset."""

    __tablename__ = "quota_periods"  # pyright: ignore[reportAssignmentType]

    user_id: UUID = Field(primary_key=True)
    period_key: str = Field(primary_key=True)
    period_start: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    period_end: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    included: int = Field(sa_type=sa.BigInteger)
    overage: int = Field(default=0, sa_type=sa.BigInteger)
    credited: int = Field(default=0, sa_type=sa.BigInteger)
    used: int = Field(default=0, sa_type=sa.BigInteger)
    reserved: int = Field(default=0, sa_type=sa.BigInteger)
    # Charged as extra usage, and what of it was charged before an upgrade in the same period; that is
    # part of `credited`. A trigger of the ledger sums it.
    billed_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    billed_usd: Decimal = Field(default=Decimal(0), sa_type=Usd)  # pyright: ignore[reportArgumentType]
    carried_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    carried_usd: Decimal = Field(default=Decimal(0), sa_type=Usd)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    updated_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class ReservationRow(SQLModel, table=True):
    """What a running call holds. A lease: whoever stops renewing it is settled by the recovery."""

    __tablename__ = "reservations"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    user_id: UUID
    conversation_id: UUID | None = None
    message_id: UUID | None = None
    purpose: str
    plan: str
    model: str
    period_key: str
    tokens: int = Field(sa_type=sa.BigInteger)
    cost_usd: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    prompt_estimate: int
    prompt_count: int
    max_tokens: int
    weight: Decimal = Field(sa_type=sa.Numeric(10, 4))  # pyright: ignore[reportArgumentType]
    spend_day: date
    free_tier: bool
    # What it settles at: every model that may answer, with weight and price.
    models: list[dict[str, Any]] | None = Field(default=None, sa_type=JSONB)
    state: str = "open"
    lease_expires_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    closed_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class UsageRecord(SQLModel, table=True):
    """A line of the ledger: append-only, and a receipt that explains its own cost."""

    __tablename__ = "usage_records"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    reservation_id: UUID
    user_id: UUID
    conversation_id: UUID | None = None
    message_id: UUID | None = None
    purpose: str
    plan: str
    model: str
    provider: str
    prompt_tokens: int
    cached_prompt_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    completion_tokens: int
    thinking_tokens: int = 0
    region: str = ""
    total_tokens: int = Field(
        sa_column=sa.Column(
            sa.Integer, sa.Computed("prompt_tokens + completion_tokens"), nullable=False
        )
    )
    counted_by: str
    # Why the provider's report wasn't believed; None where it was, or where none came.
    report_issue: str | None = None
    weight: Decimal = Field(sa_type=sa.Numeric(10, 4))  # pyright: ignore[reportArgumentType]
    quota_tokens: int = Field(sa_type=sa.BigInteger)
    credit_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    # Of the quota tokens, those that cost extra, and what they cost.
    overage_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    overage_usd: Decimal = Field(default=Decimal(0), sa_type=sa.Numeric(12, 6))  # pyright: ignore[reportArgumentType]
    period_key: str
    input_usd_per_million: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    output_usd_per_million: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    price_version: str
    # With the version and the model, the price itself (price_versions); None in lines from before.
    price_digest: str | None = None
    cost_usd: Decimal = Field(sa_type=sa.Numeric(10, 6))  # pyright: ignore[reportArgumentType]
    outcome: str
    stripe_meter_event_id: str | None = None
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class UsageLoss(SQLModel, table=True):
    """What a provider produced, or says it produced, beyond what its user is charged. Append-only."""

    __tablename__ = "usage_losses"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    id: UUID = Field(primary_key=True)
    reservation_id: UUID
    user_id: UUID
    purpose: str
    model: str
    provider: str
    reason: str
    # None where the provider reported nothing.
    reported_prompt_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    reported_completion_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    counted_prompt_tokens: int = Field(sa_type=sa.BigInteger)
    counted_completion_tokens: int = Field(sa_type=sa.BigInteger)
    reserved_prompt_tokens: int = Field(sa_type=sa.BigInteger)
    reserved_completion_tokens: int = Field(sa_type=sa.BigInteger)
    reserved_usd: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    charged_prompt_tokens: int = Field(sa_type=sa.BigInteger)
    charged_completion_tokens: int = Field(sa_type=sa.BigInteger)
    charged_usd: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    lost_tokens: int = Field(sa_type=sa.BigInteger)
    lost_usd: Decimal = Field(sa_type=sa.Numeric(20, 6))  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class PriceVersionRow(SQLModel, table=True):
    """What a price said; lines of the ledger name it."""

    __tablename__ = "price_versions"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    model: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    price: dict[str, Any] = Field(sa_type=JSONB)
    since: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class OutboxRow(SQLModel, table=True):
    """The intent to report a ledger line to a meter, made in the same transaction. Without a line
    it is a correction: what the meter lacked of a day. What counts is `micro_usd`, or `tokens` where
    there is none."""

    __tablename__ = "usage_outbox"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    usage_record_id: UUID | None = None
    user_id: UUID
    identifier: str
    stripe_customer_id: str
    meter: str = TOKEN_METER
    tokens: int = Field(sa_type=sa.BigInteger)
    micro_usd: int | None = Field(default=None, sa_type=sa.BigInteger)
    event_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    state: str = "pending"
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    last_error: str | None = None
    # Held by a sender until then, at most one row of a customer at a time.
    claim: UUID | None = None
    claimed_until: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    # When it may have reached the meter for the first time; None when it surely has not.
    first_sent_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    failures: int = 0
    sent_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class Metering(SQLModel, table=True):
    """What all senders to a meter have in common; its row is the lock under which they claim."""

    __tablename__ = "metering"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    meter: str = Field(primary_key=True)
    spent_until: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    paused_until: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    entered_until: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class MeterReconciliation(SQLModel, table=True):
    """A customer's day (UTC) in the ledger and in its meter: millionths of a dollar, or tokens.
    `drift` is what the meter has too much, or lacks when it is below zero; `next_check_at` is None
    once it is settled."""

    __tablename__ = "meter_reconciliations"  # pyright: ignore[reportAssignmentType]

    stripe_customer_id: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    meter: str = TOKEN_METER
    ledger_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    pending_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    meter_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    drift: int = Field(
        sa_column=sa.Column(
            sa.BigInteger, sa.Computed("meter_tokens - (ledger_tokens - pending_tokens)")
        )
    )
    checked_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    next_check_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    settled_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    corrected_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class UsageDay(SQLModel, table=True):
    """The ledger, summed by a trigger of its own; nobody else writes here. Days are UTC."""

    __tablename__ = "usage_days"  # pyright: ignore[reportAssignmentType]

    user_id: UUID = Field(primary_key=True)
    day: date = Field(primary_key=True)
    period_key: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    plan: str = Field(primary_key=True)
    purpose: str = Field(primary_key=True)
    requests: int = Field(sa_type=sa.BigInteger)
    done: int = Field(sa_type=sa.BigInteger)
    stopped: int = Field(sa_type=sa.BigInteger)
    interrupted: int = Field(sa_type=sa.BigInteger)
    failed: int = Field(sa_type=sa.BigInteger)
    prompt_tokens: int = Field(sa_type=sa.BigInteger)
    completion_tokens: int = Field(sa_type=sa.BigInteger)
    quota_tokens: int = Field(sa_type=sa.BigInteger)
    cost_usd: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]


class RefusalRow(SQLModel, table=True):
    """How often somebody was refused for one reason in one minute; never what they had written."""

    __tablename__ = "refusals"  # pyright: ignore[reportAssignmentType]

    user_id: UUID = Field(primary_key=True)
    code: str = Field(primary_key=True)
    minute: datetime = Field(primary_key=True, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    times: int
    model: str | None = None


class SpendDay(SQLModel, table=True):
    """Money spent and held on a day (UTC), by the free tier and in total."""

    __tablename__ = "spend_days"  # pyright: ignore[reportAssignmentType]

    day: date = Field(primary_key=True)
    scope: str = Field(primary_key=True)
    spent_usd: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    reserved_usd: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    # When its cap first refused somebody.
    refused_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class SpendingAlert(SQLModel, table=True):
    """A line of a cap that was crossed on a day, and what became of telling the webhook."""

    __tablename__ = "spending_alerts"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    id: UUID = Field(primary_key=True)
    day: date
    scope: str
    cap_usd: Decimal = Field(sa_type=sa.Numeric(12, 6))  # pyright: ignore[reportArgumentType]
    percent: int
    spent_usd: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    reserved_usd: Decimal = Field(sa_type=Usd)  # pyright: ignore[reportArgumentType]
    refusing: bool
    told: bool
    state: str
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    last_error: str | None = None
    sent_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class JobFailure(SQLModel, table=True):
    """An item that a job could not do; set aside once there is no next try."""

    __tablename__ = "job_failures"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    job: str = Field(primary_key=True)
    item: str = Field(primary_key=True)
    attempts: int
    last_error: str
    first_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    last_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    next_attempt_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class Subscription(SQLModel, table=True):
    """Stripe's subscription as last seen."""

    __tablename__ = "subscriptions"  # pyright: ignore[reportAssignmentType]

    id: str = Field(primary_key=True)
    user_id: UUID
    stripe_customer_id: str
    status: str
    # None: its price was made for no plan of ours.
    plan: str | None = None
    price_id: str | None = None
    item_id: str | None = None
    current_period_start: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    current_period_end: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    cancel_at_period_end: bool = False
    trial_end: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    past_due_since: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    cancel_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    # Of the running period, where an upgrade has made it another number than the plan's.
    period_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    next_plan: str | None = None
    # The period whose payment went back: it grants nothing in it.
    suspended_period: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    # Calls that began before are billed by the meter of tokens; None: none are.
    tokens_until: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    updated_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class SubscriptionTask(SQLModel, table=True):
    """What is to be done about a subscription at the payment provider; gone once it is done."""

    __tablename__ = "subscription_tasks"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    kind: str = Field(primary_key=True)
    subscription_id: str = Field(primary_key=True)
    user_id: UUID
    claimed_until: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class ProcessedWebhookEvent(SQLModel, table=True):
    """A webhook event whose effects are in the database, committed together with this row."""

    __tablename__ = "processed_webhook_events"  # pyright: ignore[reportAssignmentType]

    id: str = Field(primary_key=True)
    type: str
    outcome: str = "done"
    customer_id: str | None = None
    subscription_id: str | None = None
    note: str | None = None
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class WebhookFailure(SQLModel, table=True):
    """An event whose handling failed and was rolled back. `last_error` is a code."""

    __tablename__ = "webhook_failures"  # pyright: ignore[reportAssignmentType]

    event_id: str = Field(primary_key=True)
    type: str
    attempts: int = 1
    last_error: str
    first_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    last_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    resolved_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class EntitlementDifference(SQLModel, table=True):
    """A plan that wasn't what followed from its user's subscriptions at the payment provider. At most
    one of a user is open; both sides are a plan, its state, its subscription and its ends."""

    __tablename__ = "entitlement_differences"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    user_id: UUID
    ours: dict[str, object] = Field(sa_type=JSONB)
    theirs: dict[str, object] = Field(sa_type=JSONB)
    note: str | None = None
    found_by: str
    found_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    corrected_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class BillingNotice(SQLModel, table=True):
    """A mail to be written, to a user or (without one) to the admins; `key` names the fact."""

    __tablename__ = "billing_notices"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    user_id: UUID | None = None
    kind: str
    key: str
    values: dict[str, object] = Field(sa_type=JSONB)
    state: str = "pending"
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    last_error: str | None = None
    sent_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class CreditGrant(SQLModel, table=True):
    """Tokens that an admin gave somebody; they are used when what is included is used up."""

    __tablename__ = "credit_grants"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    user_id: UUID
    tokens: int = Field(sa_type=sa.BigInteger)
    spent: int = Field(default=0, sa_type=sa.BigInteger)
    reason: str
    granted_by: str
    expires_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class CreditUse(SQLModel, table=True):
    """What one call took of one grant."""

    __tablename__ = "credit_uses"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    grant_id: UUID
    reservation_id: UUID
    tokens: int = Field(sa_type=sa.BigInteger)
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


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
