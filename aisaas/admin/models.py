"""The admin's tables."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

Timestamp = sa.DateTime(timezone=True)
Usd = sa.Numeric(14, 6)


class AuditEntry(SQLModel, table=True):
    """Who changed what, from what to what, and why. Append-only."""

    __tablename__ = "audit_log"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    after: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    reason: str = ""
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class KillSwitch(SQLModel, table=True):
    """An engaged switch; `scope` is all, plan:…, model:… or provider:…"""

    __tablename__ = "kill_switches"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    scope: str = Field(primary_key=True)
    reason: str = ""
    engaged_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    # What runs is stopped as well, wherever it runs.
    stop_running: bool = False
    engaged_by: str = ""


class SpendingCap(SQLModel, table=True):
    """What may be spent a day, as an admin has set it; without a row it is what the settings say."""

    __tablename__ = "spending_caps"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    scope: str = Field(primary_key=True)
    usd: Decimal = Field(sa_type=sa.Numeric(12, 6))  # pyright: ignore[reportArgumentType]
    changed_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    changed_by: str


class ModelOverride(SQLModel, table=True):
    """An admin's word over the catalogue; None: as the catalogue has it. USD per million tokens.
    `revision` is the number of its last change, over all models."""

    __tablename__ = "model_overrides"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    model: str = Field(primary_key=True)
    enabled: bool | None = None
    plans: list[str] | None = Field(default=None, sa_type=sa.ARRAY(sa.Text))  # pyright: ignore[reportArgumentType]
    weight: Decimal | None = Field(default=None, sa_type=sa.Numeric(10, 4))  # pyright: ignore[reportArgumentType]
    input_usd: Decimal | None = Field(default=None, sa_type=Usd)  # pyright: ignore[reportArgumentType]
    output_usd: Decimal | None = Field(default=None, sa_type=Usd)  # pyright: ignore[reportArgumentType]
    cached_input_usd: Decimal | None = Field(default=None, sa_type=Usd)  # pyright: ignore[reportArgumentType]
    price_version: str | None = None
    # All of the price, as it was set; None from the release before, whose prices have no tiers.
    price: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    changed_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    changed_by: str
    revision: int = Field(sa_type=sa.BigInteger)
