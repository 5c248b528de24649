"""What is reported to the payment provider's meters."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from aisaas.billing.ports import TOKEN_METER
from aisaas.db.columns import (
    NEW_ID,
    NOW,
    Table,
    check,
    check_named,
    filled,
    index,
    not_negative,
)


class OutboxRow(Table, table=True):
    """The intent to report a ledger line to a meter, made in the same transaction. Without a line
    it is a correction: what the meter lacked of a day. The amount is `micro_usd`, or `tokens` if that
    is None."""

    __tablename__ = "usage_outbox"
    __table_args__ = (
        check_named("usage_outbox_check", "(claim is null) = (claimed_until is null)"),
        check_named(
            "usage_outbox_check1",
            "claim is null or (state = 'pending' and first_sent_at is not null)",
        ),
        check("state in ('pending', 'sent', 'dead', 'parked', 'waived')", "state"),
        check(
            f"case when meter = '{TOKEN_METER}' then micro_usd is null and tokens > 0"
            " else micro_usd > 0 and tokens >= 0 end",
            "value",
        ),
        *not_negative("attempts", "failures"),
        index("created", "created_at"),
        index("customer", "stripe_customer_id", "event_at"),
        index("in_flight", "stripe_customer_id", where="claim is not null", unique=True),
        index("lane", "stripe_customer_id", "event_at", where="state = 'pending'"),
        index(
            "trouble",
            "state",
            "event_at desc",
            "id desc",
            where="state in ('dead', 'parked', 'waived')",
        ),
        index("unsure", "first_sent_at", where="state = 'pending' and first_sent_at is not null"),
        index("user", "user_id", "created_at desc"),
        index("waiting", "event_at", where="state = 'pending'"),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    usage_record_id: UUID | None = Field(default=None, unique=True, foreign_key="usage_records.id")
    user_id: UUID
    identifier: str = Field(unique=True)
    stripe_customer_id: str
    meter: str = TOKEN_METER
    tokens: int = Field(sa_type=sa.BigInteger)
    micro_usd: int | None = Field(default=None, sa_type=sa.BigInteger)
    event_at: datetime
    state: str = "pending"
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_column_kwargs=NOW)
    last_error: str | None = None
    # Held by a sender until then, at most one row of a customer at a time.
    claim: UUID | None = None
    claimed_until: datetime | None = None
    # When it may first have reached the meter; None when it surely has not.
    first_sent_at: datetime | None = None
    failures: int = 0
    sent_at: datetime | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)


class Metering(Table, table=True):
    """What all senders to a meter have in common; its row is the lock under which they claim."""

    __tablename__ = "metering"
    __table_args__ = ({"schema": "private"},)

    meter: str = Field(primary_key=True)
    spent_until: datetime = Field(sa_column_kwargs=NOW)
    paused_until: datetime = Field(sa_column_kwargs=NOW)
    entered_until: datetime = Field(
        sa_column_kwargs=filled("'1970-01-01 00:00:00+00'::timestamp with time zone")
    )


class MeterReconciliation(Table, table=True):
    """A customer's day (UTC) in the ledger and in its meter: millionths of a dollar, or tokens.
    `drift` is the meter's excess, or what it lacks when negative; `next_check_at` is None once it is
    settled."""

    __tablename__ = "meter_reconciliations"
    __table_args__ = (
        *not_negative("ledger_tokens", "meter_tokens", "pending_tokens"),
        index(
            "differ",
            "day desc",
            "stripe_customer_id",
            include=(
                "drift",
                "settled_tokens",
                "checked_at",
            ),
            where="drift <> settled_tokens",
        ),
        index("due", "next_check_at", where="next_check_at is not null"),
        index("settled", "day", where="next_check_at is null and drift = settled_tokens"),
    )

    stripe_customer_id: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    meter: str = TOKEN_METER
    ledger_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    pending_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    meter_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    drift: int = Field(
        nullable=True,
        sa_type=sa.BigInteger,
        sa_column_args=[
            sa.Computed("meter_tokens - (ledger_tokens - pending_tokens)", persisted=True)
        ],
    )
    checked_at: datetime | None = None
    next_check_at: datetime | None = None
    settled_tokens: int = Field(default=0, sa_type=sa.BigInteger)
    corrected_at: datetime | None = None
