"""What users may use, and what running calls hold of it."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

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


class QuotaPeriod(Table, table=True):
    """A user's allowance in one period. The period is a key: nothing is ever reset."""

    __tablename__ = "quota_periods"
    __table_args__ = (
        check(
            "billed_tokens >= carried_tokens and carried_tokens >= 0 and billed_usd >= 0"
            " and carried_usd >= 0",
            "billed",
        ),
        check_named("quota_periods_check", "period_end > period_start"),
        check("included >= 0", "token_limit"),
        *not_negative("credited", "overage", "reserved", "used"),
        index("end", "period_end"),
        index("recent", "user_id", "period_end desc"),
    )

    user_id: UUID = Field(primary_key=True)
    period_key: str = Field(primary_key=True)
    period_start: datetime
    period_end: datetime
    included: int = Field(sa_type=sa.BigInteger)
    overage: int = Field(default=0, sa_type=sa.BigInteger)
    credited: int = Field(default=0, sa_type=sa.BigInteger)
    used: int = Field(default=0, sa_type=sa.BigInteger)
    reserved: int = Field(default=0, sa_type=sa.BigInteger)
    # Charged as extra usage, and what of it was charged before an upgrade in the same period; that is
    # part of `credited`. A trigger of the ledger sums it.
    billed_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    billed_usd: Decimal = Field(default=Decimal(0), sa_type=Usd)
    carried_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    carried_usd: Decimal = Field(default=Decimal(0), sa_type=Usd)
    created_at: datetime = Field(sa_column_kwargs=NOW)
    updated_at: datetime = Field(sa_column_kwargs=NOW)


class ReservationRow(Table, table=True):
    """What a running call holds. A lease: when it isn't renewed, the recovery settles the call."""

    __tablename__ = "reservations"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["user_id", "period_key"], ["quota_periods.user_id", "quota_periods.period_key"]
        ),
        check_named("reservations_check", "(state = 'open') = (closed_at is null)"),
        one_of("purpose", Purpose),
        check("state in ('open', 'settled', 'released')", "state"),
        *not_negative("cost_usd", "max_tokens", "prompt_count", "prompt_estimate", "tokens"),
        *positive("weight"),
        index("closed", "closed_at", where="closed_at is not null"),
        index("lease", "lease_expires_at", where="state = 'open'"),
        index("message", "message_id"),
        index("user_created", "user_id", "created_at desc"),
        index("user_open", "user_id", where="state = 'open'"),
    )

    id: UUID = Field(primary_key=True)
    user_id: UUID
    conversation_id: UUID | None = None
    message_id: UUID | None = None
    purpose: str
    plan: str
    model: str
    period_key: str
    tokens: int = Field(sa_type=sa.BigInteger)
    cost_usd: Decimal = Field(sa_type=Usd)
    prompt_estimate: int
    prompt_count: int
    max_tokens: int
    weight: Decimal = Field(sa_type=sa.Numeric(10, 4))
    spend_day: date
    free_tier: bool
    # The terms it settles at: every model that may answer, with weight and price.
    models: list[dict[str, Any]] | None = Field(default=None, sa_type=JSONB)
    state: str = "open"
    lease_expires_at: datetime
    created_at: datetime = Field(sa_column_kwargs=NOW)
    closed_at: datetime | None = None


class CreditGrant(Table, table=True):
    """Tokens an admin gave a user; they are used once the included ones are used up."""

    __tablename__ = "credit_grants"
    __table_args__ = (
        check_named("credit_grants_check", "(spent >= 0) and (spent <= tokens)"),
        length("granted_by", 320),
        length("reason", 500),
        *positive("tokens"),
        index("open", "user_id", where="spent < tokens"),
        index("user", "user_id", "created_at desc"),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    user_id: UUID
    tokens: int = Field(sa_type=sa.BigInteger)
    spent: int = Field(default=0, sa_type=sa.BigInteger)
    reason: str
    granted_by: str
    expires_at: datetime | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)


class CreditUse(Table, table=True):
    """What one call took of one grant."""

    __tablename__ = "credit_uses"
    __table_args__ = (
        *positive("tokens"),
        index("grant", "grant_id"),
        index("reservation", "reservation_id"),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    grant_id: UUID = Field(foreign_key="credit_grants.id")
    reservation_id: UUID
    tokens: int = Field(sa_type=sa.BigInteger)
    created_at: datetime = Field(sa_column_kwargs=NOW)


class SpendDay(Table, table=True):
    """Money spent and held on a day (UTC), by the free tier and in total."""

    __tablename__ = "spend_days"
    __table_args__ = (
        check("scope in ('free', 'total')", "scope"),
        *not_negative("reserved_usd", "spent_usd"),
    )

    day: date = Field(primary_key=True)
    scope: str = Field(primary_key=True)
    spent_usd: Decimal = Field(default=Decimal(0), sa_type=Usd)
    reserved_usd: Decimal = Field(default=Decimal(0), sa_type=Usd)
    # When its cap first refused a call.
    refused_at: datetime | None = None


class RefusalRow(Table, table=True):
    """How often a user was refused for one reason in one minute; never what they had written."""

    __tablename__ = "refusals"
    __table_args__ = (
        length("code", 100),
        length("model", 200),
        *positive("times"),
        index(
            "read",
            "minute desc",
            include=(
                "code",
                "times",
                "user_id",
            ),
        ),
        index("user_minute", "user_id", "minute desc"),
    )

    user_id: UUID = Field(primary_key=True)
    code: str = Field(primary_key=True)
    minute: datetime = Field(primary_key=True)
    times: int
    model: str | None = None
