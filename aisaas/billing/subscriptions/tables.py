"""Subscriptions, and the payment provider's events about them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from aisaas.billing.subscriptions.models import WebhookOutcome
from aisaas.db.columns import (
    NEW_ID,
    NOW,
    Table,
    check,
    index,
    not_negative,
    one_of,
    positive,
)


class Subscription(Table, table=True):
    """Stripe's subscription as last seen."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        *not_negative("period_tokens"),
        index("customer", "stripe_customer_id"),
        index(
            "earned",
            "plan",
            "status",
            include=(
                "created_at",
                "trial_end",
                "past_due_since",
                "updated_at",
            ),
        ),
        index("live", "user_id", where="status not in ('canceled', 'incomplete_expired')"),
        index("user", "user_id", "created_at desc"),
    )

    id: str = Field(primary_key=True)
    user_id: UUID = Field(foreign_key="profiles.id", ondelete="CASCADE")
    stripe_customer_id: str
    status: str
    # None: its price belongs to none of our plans.
    plan: str | None = None
    price_id: str | None = None
    item_id: str | None = None
    current_period_start: datetime | None = None
    current_period_end: datetime | None = None
    cancel_at_period_end: bool = False
    trial_end: datetime | None = None
    past_due_since: datetime | None = None
    cancel_at: datetime | None = None
    # The running period's allowance, where an upgrade has made it differ from the plan's.
    period_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    next_plan: str | None = None
    # The period whose payment was refunded: the subscription grants nothing in it.
    suspended_period: datetime | None = None
    # Calls that began before this are billed by the token meter; None: none are.
    tokens_until: datetime | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)
    updated_at: datetime = Field(sa_column_kwargs=NOW)


class SubscriptionTask(Table, table=True):
    """What is to be done about a subscription at the payment provider; gone once it is done."""

    __tablename__ = "subscription_tasks"
    __table_args__ = (
        check("kind in ('end_duplicate', 'end_refunded', 'release_schedule')", "kind"),
        {"schema": "private"},
    )

    kind: str = Field(primary_key=True)
    subscription_id: str = Field(primary_key=True)
    user_id: UUID
    claimed_until: datetime = Field(sa_column_kwargs=NOW)
    created_at: datetime = Field(sa_column_kwargs=NOW)


class ProcessedWebhookEvent(Table, table=True):
    """A webhook event whose effects are in the database, committed together with this row."""

    __tablename__ = "processed_webhook_events"
    __table_args__ = (
        one_of("outcome", WebhookOutcome),
        index("created", "created_at desc"),
    )

    id: str = Field(primary_key=True)
    type: str
    outcome: str = "done"
    customer_id: str | None = None
    subscription_id: str | None = None
    note: str | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)


class WebhookFailure(Table, table=True):
    """An event whose handling failed and was rolled back. `last_error` is a code."""

    __tablename__ = "webhook_failures"
    __table_args__ = (
        *positive("attempts"),
        index("open", "last_at desc", where="resolved_at is null"),
        index("resolved", "resolved_at", where="resolved_at is not null"),
    )

    event_id: str = Field(primary_key=True)
    type: str
    attempts: int = 1
    last_error: str
    first_at: datetime = Field(sa_column_kwargs=NOW)
    last_at: datetime = Field(sa_column_kwargs=NOW)
    resolved_at: datetime | None = None


class EntitlementDifference(Table, table=True):
    """A plan that wasn't what followed from its user's subscriptions at the payment provider. At most
    one of a user is open; both sides are a plan, its state, its subscription and its ends."""

    __tablename__ = "entitlement_differences"
    __table_args__ = (
        index("corrected", "corrected_at", where="corrected_at is not null"),
        index("found", "found_at desc", "id desc"),
        index("open", "user_id", where="corrected_at is null", unique=True),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    user_id: UUID = Field(foreign_key="profiles.id", ondelete="CASCADE")
    ours: dict[str, object] = Field(sa_type=JSONB)
    theirs: dict[str, object] = Field(sa_type=JSONB)
    note: str | None = None
    found_by: str
    found_at: datetime = Field(sa_column_kwargs=NOW)
    corrected_at: datetime | None = None
