"""What the usage dashboard shows, and the sums it is read from.

Days and hours are UTC. Money is USD, as exact as the ledger has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from aisaas.billing.reservations.models import Purpose
from aisaas.db.columns import (
    Table,
    Usd,
    check,
    check_named,
    length,
    one_of,
    positive,
)

Step = Literal["day", "hour"]
# The kinds of rows that an export can have.
By = Literal["user", "model", "day", "hour"]
# The measures that the heaviest users are ranked by.
UserAmount = Literal["requests", "tokens", "cost"]
UserSort = Literal["requests", "tokens", "cost", "overage", "errors", "email"]
Direction = Literal["up", "down"]
# Ten years; and by the hour, as much as a chart can show.
MOST_DAYS = 3660
MOST_HOURLY_DAYS = 31
NOTHING = Decimal(0)


class UsageTotal(Table, table=True):
    """The ledger over all users, by the day and by the hour; written by its trigger alone."""

    __tablename__ = "usage_totals"
    __table_args__ = (
        one_of("purpose", Purpose),
        one_of("step", Step),
        *positive("requests"),
        {"schema": "private", "postgresql_with": {"fillfactor": 50}},
    )

    step: str = Field(primary_key=True)
    starts: datetime = Field(primary_key=True)
    model: str = Field(primary_key=True)
    provider: str = Field(primary_key=True)
    plan: str = Field(primary_key=True)
    purpose: str = Field(primary_key=True)
    requests: int = Field(sa_type=sa.BigInteger)
    stopped: int = Field(sa_type=sa.BigInteger)
    interrupted: int = Field(sa_type=sa.BigInteger)
    failed: int = Field(sa_type=sa.BigInteger)
    prompt_tokens: int = Field(sa_type=sa.BigInteger)
    cached_prompt_tokens: int = Field(sa_type=sa.BigInteger)
    completion_tokens: int = Field(sa_type=sa.BigInteger)
    quota_tokens: int = Field(sa_type=sa.BigInteger)
    cost_usd: Decimal = Field(sa_type=Usd)
    overage_usd: Decimal = Field(sa_type=Usd)


class UsageByUser(Table, table=True):
    """The ledger by user and blocks of 1, 4, 16 and 64 days; written by its trigger alone."""

    __tablename__ = "usage_by_user"
    __table_args__ = (
        check_named("usage_by_user_check", "mod(starts - '1970-01-01'::date, days) = 0"),
        check("days in (1, 4, 16, 64)", "days"),
        *positive("requests"),
        {"schema": "private", "postgresql_with": {"fillfactor": 80}},
    )

    days: int = Field(primary_key=True, sa_type=sa.SmallInteger)
    starts: date = Field(primary_key=True)
    user_id: UUID = Field(primary_key=True)
    requests: int = Field(sa_type=sa.BigInteger)
    stopped: int = Field(sa_type=sa.BigInteger)
    interrupted: int = Field(sa_type=sa.BigInteger)
    failed: int = Field(sa_type=sa.BigInteger)
    prompt_tokens: int = Field(sa_type=sa.BigInteger)
    cached_prompt_tokens: int = Field(sa_type=sa.BigInteger)
    completion_tokens: int = Field(sa_type=sa.BigInteger)
    quota_tokens: int = Field(sa_type=sa.BigInteger)
    # Millionths of a USD.
    cost_micros: int = Field(sa_type=sa.BigInteger)
    overage_micros: int = Field(sa_type=sa.BigInteger)


class ProviderErrorRow(Table, table=True):
    """How often a provider's model failed in one way on one day (UTC)."""

    __tablename__ = "provider_errors"
    __table_args__ = (
        length("kind", 100),
        *positive("times"),
        {"schema": "private"},
    )

    day: date = Field(primary_key=True)
    provider: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    times: int = Field(sa_type=sa.BigInteger)


@dataclass(frozen=True, slots=True)
class Span:
    """Whole days, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        """Raises ValueError with a message for the user who chose the days."""
        if self.last < self.first:
            raise ValueError("The last day is before the first.")
        if self.days > MOST_DAYS:
            raise ValueError(f"A range can have at most {MOST_DAYS:,} days.")

    @classmethod
    def of(cls, first: str, last: str) -> Span:
        """Of days like 2026-11-30. Raises ValueError with a sentence."""
        try:
            return cls(date.fromisoformat(first), date.fromisoformat(last))
        except ValueError as error:
            raise ValueError(f"{str(error).rstrip('.')}.") from error

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        return datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return self.start + timedelta(days=self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Lines of the ledger, summed.

    `requests` include `interrupted` and `failed`, which cost something; a call without any output
    has no line, and is counted in ProviderErrors. `prompt_tokens` include `cached_prompt_tokens`.
    `overage_usd` is what the lines cost their users beyond what is included.
    """

    requests: int = 0
    stopped: int = 0
    interrupted: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    quota_tokens: int = 0
    cost_usd: Decimal = NOTHING
    overage_usd: Decimal = NOTHING

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            requests=self.requests + other.requests,
            stopped=self.stopped + other.stopped,
            interrupted=self.interrupted + other.interrupted,
            failed=self.failed + other.failed,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens + other.cached_prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            quota_tokens=self.quota_tokens + other.quota_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
            overage_usd=self.overage_usd + other.overage_usd,
        )

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def errors(self) -> int:
        return self.interrupted + self.failed


@dataclass(frozen=True, slots=True)
class Earned:
    """Figures with what they brought in.

    Revenue is the overage of the ledger's lines, each at the price of its moment, and
    `subscriptions_usd`: the base prices of subscriptions in good standing, as prices are now, earned
    evenly, a year's over 365 days. It is what was earned, not what was paid: payments, discounts,
    refunds and taxes are not in it. A share by model or provider has no part in base prices.
    """

    figures: Figures
    subscriptions_usd: Decimal = NOTHING

    @property
    def revenue_usd(self) -> Decimal:
        return self.figures.overage_usd + self.subscriptions_usd

    @property
    def margin_usd(self) -> Decimal:
        """Revenue less what the providers cost."""
        return self.revenue_usd - self.figures.cost_usd


@dataclass(frozen=True, slots=True)
class Point:
    """A day or an hour that begins at `at`; those without any use are there too."""

    at: datetime
    earned: Earned


@dataclass(frozen=True, slots=True)
class Share:
    """One model, provider or plan, by its id."""

    name: str
    earned: Earned


@dataclass(frozen=True, slots=True)
class RefusedFor:
    """How often one code was the reason, and for how many users. Kept for 90 days."""

    code: str
    times: int
    users: int


@dataclass(frozen=True, slots=True)
class ProviderErrors:
    """How often a model of a provider failed in one way, also where another answered instead."""

    provider: str
    model: str
    kind: str
    times: int


@dataclass(frozen=True, slots=True)
class Spent:
    """Money of one day: spent, and held by calls that are running."""

    spent_usd: Decimal
    reserved_usd: Decimal
    cap_usd: Decimal


@dataclass(frozen=True, slots=True)
class Burn:
    """What the free tier took on a day, against the cap of now."""

    day: date
    free: Spent


@dataclass(frozen=True, slots=True)
class Report:
    """A span in all its figures. Shares and reasons come with the largest first."""

    span: Span
    step: Step
    total: Earned
    active_users: int
    series: Sequence[Point]
    models: Sequence[Share]
    providers: Sequence[Share]
    plans: Sequence[Share]
    refusals: Sequence[RefusedFor]
    errors: Sequence[ProviderErrors]
    burn: Sequence[Burn]


@dataclass(frozen=True, slots=True)
class UserUsage:
    """One user in a span. `email` and `plan` (the current one) are None once the account is gone."""

    user_id: UUID
    email: str | None
    plan: str | None
    figures: Figures


@dataclass(frozen=True, slots=True)
class UserPage:
    """A page of those with any use; pages count from 1. `total` is over all of them."""

    users: Sequence[UserUsage]
    page: int
    pages: int
    total: int


@dataclass(frozen=True, slots=True)
class Live:
    """Now, over all workers, by the database's clock. Requests are counted when they settle."""

    at: datetime
    running: int
    requests_a_minute: int
    refusals_a_minute: int
    free: Spent
    total: Spent


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a sum isn't the ledger: which table, which row, and both sides as they are stored."""

    table: str
    row: str
    ledger: str
    sums: str
