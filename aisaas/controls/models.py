"""The admin's tables, and what every call reads of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from aisaas.db.columns import (
    NOW,
    Table,
    Usd,
    check,
    check_named,
    filled,
    length,
    not_negative,
    positive,
)


@dataclass(frozen=True, slots=True)
class Controls:
    """What operators have set, as every call obeys it: the scopes of engaged kill switches, and the
    number of the newest model change."""

    switches: frozenset[str]
    models_revision: int


class KillSwitch(Table, table=True):
    """An engaged switch; `scope` is all, plan:…, model:… or provider:…"""

    __tablename__ = "kill_switches"
    __table_args__ = (
        check("scope ~ '^(all|(plan|model|provider):[^[:space:]]+)$'", "scope"),
        {"schema": "private"},
    )

    scope: str = Field(primary_key=True)
    reason: str = ""
    engaged_at: datetime = Field(sa_column_kwargs=NOW)
    # Running calls are stopped as well, in every process.
    stop_running: bool = False
    engaged_by: str = ""


class SpendingCap(Table, table=True):
    """What may be spent a day, as an admin has set it; without a row it is what the settings say."""

    __tablename__ = "spending_caps"
    __table_args__ = (
        length("scope", 100),
        *not_negative("usd"),
        {"schema": "private"},
    )

    scope: str = Field(primary_key=True)
    usd: Decimal = Field(sa_type=sa.Numeric(12, 6))
    changed_at: datetime = Field(sa_column_kwargs=NOW)
    changed_by: str


# Counts the changes over all models.
sa.Sequence("model_revisions", schema="private", metadata=Table.metadata)


class ModelOverride(Table, table=True):
    """An admin's override of the catalogue; None keeps the catalogue's value. USD per million
    tokens. `revision` is the number of its last change, over all models."""

    __tablename__ = "model_overrides"
    __table_args__ = (
        check_named(
            "model_overrides_check",
            "num_nonnulls(input_usd, output_usd, cached_input_usd, price_version) in (0, 4)",
        ),
        length("model", 200),
        check("cardinality(plans) > 0", "plans"),
        length("price_version", 100),
        length("successor", 200),
        *not_negative("cached_input_usd", "input_usd", "output_usd"),
        *positive("weight"),
        {"schema": "private"},
    )

    model: str = Field(primary_key=True)
    enabled: bool | None = None
    plans: list[str] | None = Field(default=None, sa_type=sa.ARRAY(sa.Text))
    weight: Decimal | None = Field(default=None, sa_type=sa.Numeric(10, 4))
    input_usd: Decimal | None = Field(default=None, sa_type=Usd)
    output_usd: Decimal | None = Field(default=None, sa_type=Usd)
    cached_input_usd: Decimal | None = Field(default=None, sa_type=Usd)
    price_version: str | None = None
    # All of the price, as it was set; None from the release before, whose prices have no tiers.
    price: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    changed_at: datetime = Field(sa_column_kwargs=NOW)
    changed_by: str
    revision: int = Field(
        sa_type=sa.BigInteger,
        sa_column_kwargs=filled("nextval('private.model_revisions')"),
    )
    # The override for whether new calls may name it, and the model offered to its conversations
    # instead.
    retired: bool | None = None
    successor: str | None = None


class AddedModel(Table, table=True):
    """A model that an admin added to those of the catalogue file. Its price is LiteLLM's, or that of its
    override. Once removed, only its name is kept, for existing records."""

    __tablename__ = "added_models"
    __table_args__ = (
        length("model", 200),
        length("label", 80),
        length("provider", 40),
        length("upstream", 300),
        check("context_window >= 256", "context_window"),
        check("max_output >= 1", "max_output"),
        check("cardinality(plans) > 0", "plans"),
        length("fallback", 200),
        {"schema": "private"},
    )

    model: str = Field(primary_key=True)
    label: str
    provider: str
    # LiteLLM's name of it.
    upstream: str
    # Tokens.
    context_window: int
    max_output: int
    plans: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    fallback: str | None = None
    added_at: datetime = Field(sa_column_kwargs=NOW)
    added_by: str
    removed_at: datetime | None = None
