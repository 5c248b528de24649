"""The ledger, its sums, and the price versions that explain it."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from aisaas.billing.ledger.models import LossReason, Outcome
from aisaas.billing.reservations.models import Purpose
from aisaas.db.columns import (
    NEW_ID,
    NOW,
    Table,
    Usd,
    check,
    check_named,
    index,
    length,
    not_negative,
    one_of,
    positive,
)


class UsageRecord(Table, table=True):
    """A line of the ledger: append-only, and a receipt that explains its own cost."""

    __tablename__ = "usage_records"
    __table_args__ = (
        check_named("usage_records_check", "credit_tokens <= quota_tokens"),
        check_named("usage_records_check1", "overage_tokens <= quota_tokens - credit_tokens"),
        check("counted_by in ('provider', 'estimate')", "counted_by"),
        check(
            "thinking_tokens between 0 and completion_tokens"
            " and cache_write_tokens between 0 and prompt_tokens"
            " and cache_write_1h_tokens between 0 and cache_write_tokens",
            "kinds",
        ),
        one_of("outcome", Outcome),
        one_of("purpose", Purpose),
        *not_negative(
            "cached_prompt_tokens",
            "completion_tokens",
            "cost_usd",
            "credit_tokens",
            "input_usd_per_million",
            "output_usd_per_million",
            "overage_tokens",
            "overage_usd",
            "prompt_tokens",
            "quota_tokens",
        ),
        *positive("weight"),
        index("created", "created_at desc"),
        index("user_created", "user_id", "created_at desc"),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    reservation_id: UUID = Field(unique=True)
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
        sa_column_args=[sa.Computed("prompt_tokens + completion_tokens", persisted=True)]
    )
    counted_by: str
    # Why the provider's report was rejected; None if it was accepted, or none arrived.
    report_issue: str | None = None
    weight: Decimal = Field(sa_type=sa.Numeric(10, 4))
    quota_tokens: int = Field(sa_type=sa.BigInteger)
    credit_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    # The part of the quota tokens that costs extra, and its price.
    overage_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    overage_usd: Decimal = Field(default=Decimal(0), sa_type=sa.Numeric(12, 6))
    period_key: str
    input_usd_per_million: Decimal = Field(sa_type=Usd)
    output_usd_per_million: Decimal = Field(sa_type=Usd)
    price_version: str
    # With the version and the model, the price itself (price_versions); None in lines from before.
    price_digest: str | None = None
    cost_usd: Decimal = Field(sa_type=sa.Numeric(10, 6))
    outcome: str
    stripe_meter_event_id: str | None = Field(default=None, unique=True)
    created_at: datetime = Field(sa_column_kwargs=NOW)


class UsageDay(Table, table=True):
    """Daily sums of the ledger. Only the ledger's trigger writes here. Days are UTC."""

    __tablename__ = "usage_days"
    __table_args__ = (
        check_named("usage_days_check", "requests = done + stopped + interrupted + failed"),
        one_of("purpose", Purpose),
        *positive("requests"),
    )

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
    cost_usd: Decimal = Field(sa_type=Usd)


class UsageLoss(Table, table=True):
    """What a provider produced, or says it did, beyond what its user is charged. Append-only."""

    __tablename__ = "usage_losses"
    __table_args__ = (
        one_of("purpose", Purpose),
        one_of("reason", LossReason),
        *not_negative(
            "charged_completion_tokens",
            "charged_prompt_tokens",
            "charged_usd",
            "counted_completion_tokens",
            "counted_prompt_tokens",
            "lost_usd",
            "reported_completion_tokens",
            "reported_prompt_tokens",
            "reserved_completion_tokens",
            "reserved_prompt_tokens",
            "reserved_usd",
        ),
        *positive("lost_tokens"),
        index("newest", "created_at desc", "id desc"),
        index("reservation", "reservation_id"),
        {"schema": "private"},
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    reservation_id: UUID
    user_id: UUID
    purpose: str
    model: str
    provider: str
    reason: str
    # None if the provider reported nothing.
    reported_prompt_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    reported_completion_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    counted_prompt_tokens: int = Field(sa_type=sa.BigInteger)
    counted_completion_tokens: int = Field(sa_type=sa.BigInteger)
    reserved_prompt_tokens: int = Field(sa_type=sa.BigInteger)
    reserved_completion_tokens: int = Field(sa_type=sa.BigInteger)
    reserved_usd: Decimal = Field(sa_type=Usd)
    charged_prompt_tokens: int = Field(sa_type=sa.BigInteger)
    charged_completion_tokens: int = Field(sa_type=sa.BigInteger)
    charged_usd: Decimal = Field(sa_type=Usd)
    lost_tokens: int = Field(sa_type=sa.BigInteger)
    lost_usd: Decimal = Field(sa_type=sa.Numeric(20, 6))
    created_at: datetime = Field(sa_column_kwargs=NOW)


class WriteOff(Table, table=True):
    """Extra usage of a subscription's last period that is never invoiced. Append-only."""

    __tablename__ = "write_offs"
    __table_args__ = (
        check("reason in ('payment_failed')", "reason"),
        *positive("tokens", "usd"),
        index("user", "user_id"),
        {"schema": "private"},
    )

    period_key: str = Field(primary_key=True)
    user_id: UUID
    subscription_id: str
    reason: str
    tokens: int = Field(sa_type=sa.BigInteger)
    usd: Decimal = Field(sa_type=Usd)
    created_at: datetime = Field(sa_column_kwargs=NOW)


class PriceVersionRow(Table, table=True):
    """What a price said; lines of the ledger name it."""

    __tablename__ = "price_versions"
    __table_args__ = (
        check("digest ~ '^[0-9a-f]{16}$'", "digest"),
        length("model", 200),
        length("version", 100),
        {"schema": "private"},
    )

    model: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    price: dict[str, Any] = Field(sa_type=JSONB)
    since: datetime = Field(sa_column_kwargs=NOW)
