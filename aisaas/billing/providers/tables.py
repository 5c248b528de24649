"""How model providers do."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from aisaas.db.columns import (
    NOW,
    Table,
    check,
    filled,
    length,
    not_negative,
    one_of,
    positive,
)


class ProviderHealthSum(Table, table=True):
    """Attempts at a model that ended alike, of a minute or an hour. `kind` is as in
    billing/providers/health.py; `first_tokens` counts by ranges of seconds."""

    __tablename__ = "provider_health"
    __table_args__ = (
        one_of("step", Literal["minute", "hour"]),
        length("provider", 200),
        length("model", 200),
        length("kind", 200),
        *positive("times"),
        check("cardinality(first_tokens) <= 100", "first_tokens"),
        *not_negative("tokens", "writing_ms"),
        {"schema": "private"},
    )

    step: str = Field(primary_key=True)
    starts: datetime = Field(primary_key=True)
    provider: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    times: int
    first_tokens: list[int] = Field(
        sa_type=sa.ARRAY(sa.Integer),  # pyright: ignore[reportArgumentType]
        sa_column_kwargs=filled("'{}'"),
    )
    tokens: int = Field(default=0, sa_type=sa.BigInteger)
    writing_ms: int = Field(default=0, sa_type=sa.BigInteger)
    last_at: datetime


class ProviderCircuit(Table, table=True):
    """A circuit of a process that isn't closed; without a model it is of all the provider's."""

    __tablename__ = "provider_circuits"
    __table_args__ = (
        length("provider", 200),
        length("model", 200, least=0),
        *positive("failures"),
        {"schema": "private"},
    )

    process: UUID = Field(primary_key=True)
    provider: str = Field(primary_key=True)
    model: str = Field(default="", primary_key=True)
    failures: int
    # When a call may try it again.
    until: datetime
    seen_at: datetime = Field(sa_column_kwargs=NOW)
