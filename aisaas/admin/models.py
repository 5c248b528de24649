"""The admin's tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

Timestamp = sa.DateTime(timezone=True)


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
