"""The table of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from aisaas.db.columns import (
    NEW_ID,
    NOW,
    Table,
    index,
    trigram_index,
)


class AuditEntry(Table, table=True):
    """Who changed what, from what to what, and why. Append-only."""

    __tablename__ = "audit_log"
    __table_args__ = (
        index("actor", "actor", "created_at desc", "id desc"),
        index("newest", "created_at desc", "id desc"),
        index("subject", "subject", "created_at desc"),
        trigram_index(
            "words",
            "actor || chr(10) || action || chr(10) || subject || chr(10) || reason",
        ),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    after: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    reason: str = ""
    created_at: datetime = Field(sa_column_kwargs=NOW)
