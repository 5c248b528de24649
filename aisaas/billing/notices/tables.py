"""Mails about billing, and alerts about spending and losses."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from aisaas.db.columns import (
    NEW_ID,
    NOW,
    Table,
    Usd,
    check,
    check_named,
    filled,
    index,
    length,
    not_negative,
    positive,
)


class BillingNotice(Table, table=True):
    """A mail to be written, to a user or (without one) to the admins; `key` names the fact."""

    __tablename__ = "billing_notices"
    __table_args__ = (
        check_named("billing_notices_check", "(state = 'sent') = (sent_at is not null)"),
        length("key", 400),
        length("kind", 60),
        check("state in ('pending', 'sent', 'dead')", "state"),
        *not_negative("attempts"),
        index("dead", "created_at desc", where="state = 'dead'"),
        index("due", "next_attempt_at", where="state = 'pending'"),
        index("over", "created_at", where="state <> 'pending'"),
        index("user", "user_id", "created_at desc"),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    user_id: UUID | None = Field(default=None, foreign_key="profiles.id", ondelete="CASCADE")
    kind: str
    key: str = Field(unique=True)
    values: dict[str, object] = Field(sa_type=JSONB, sa_column_kwargs=filled("'{}'::jsonb"))
    state: str = "pending"
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_column_kwargs=NOW)
    last_error: str | None = None
    sent_at: datetime | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)


class SpendingAlert(Table, table=True):
    """A line of a cap that was crossed on a day, and what became of telling the webhook."""

    __tablename__ = "spending_alerts"
    __table_args__ = (
        sa.UniqueConstraint("day", "scope", "cap_usd", "percent"),
        check_named("spending_alerts_check", "told or state = 'none'"),
        check("percent in (50, 80, 100)", "percent"),
        check("scope in ('free', 'total')", "scope"),
        check("state in ('none', 'pending', 'sent', 'dead')", "state"),
        *not_negative("attempts", "cap_usd", "reserved_usd", "spent_usd"),
        index("dead", "created_at desc", where="state = 'dead'"),
        index("due", "next_attempt_at", where="state = 'pending'"),
        index("recent", "created_at desc"),
        {"schema": "private"},
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    day: date
    scope: str
    cap_usd: Decimal = Field(sa_type=sa.Numeric(12, 6))
    percent: int
    spent_usd: Decimal = Field(sa_type=Usd)
    reserved_usd: Decimal = Field(sa_type=Usd)
    refusing: bool
    told: bool
    state: str
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_column_kwargs=NOW)
    last_error: str | None = None
    sent_at: datetime | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)


class LossAlert(Table, table=True):
    """The first loss of a day for a model and a reason, and what became of sending it to the webhook."""

    __tablename__ = "loss_alerts"
    __table_args__ = (
        sa.UniqueConstraint("day", "reason", "model"),
        check("reason in ('report', 'overrun', 'reservation')", "reason"),
        check("state in ('pending', 'sent', 'dead')", "state"),
        *not_negative("attempts", "charged_tokens", "lost_usd", "reserved_tokens"),
        *positive("billed_tokens"),
        index("dead", "created_at desc", where="state = 'dead'"),
        index("due", "next_attempt_at", where="state = 'pending'"),
        {"schema": "private"},
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    day: date
    reason: str
    model: str
    provider: str
    billed_tokens: int = Field(sa_type=sa.BigInteger)
    charged_tokens: int = Field(sa_type=sa.BigInteger)
    reserved_tokens: int = Field(sa_type=sa.BigInteger)
    lost_usd: Decimal = Field(sa_type=sa.Numeric(20, 6))
    state: str = "pending"
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_column_kwargs=NOW)
    last_error: str | None = None
    sent_at: datetime | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)
