"""Accounts as admins find them. No field here can hold what a user wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, get_args
from uuid import UUID

from aisaas.accounts.models import GrantingSubscription, OpenedBy

Role = Literal["user", "admin"]
Sort = Literal["joined", "email", "plan", "seen", "requests", "tokens", "cost"]
SORTS: tuple[Sort, ...] = get_args(Sort)


@dataclass(frozen=True, slots=True)
class Search:
    """Which users, in which order. `text` is part of an address or a name, or the start of an id;
    None matches any. Usage is that of the last 30 days.

    Pages count from 1.
    """

    text: str = ""
    plan: str | None = None
    status: str | None = None
    role: Role | None = None
    suspended: bool | None = None
    sort: Sort = "joined"
    down: bool = True
    page: int = 1


@dataclass(frozen=True, slots=True)
class Person:
    """An account in a list."""

    id: UUID
    email: str
    full_name: str
    role: Role
    plan: str
    subscription_status: str
    suspended: bool
    created_at: datetime
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """A page of accounts. `total` stops counting at MOST_COUNTED (people.py)."""

    people: Sequence[Person]
    page: int
    pages: int
    total: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """A relation `(user_id, amount)` of users with an amount, and its values. All other users follow,
    ordered by id."""

    relation: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """A user as of `read_at`, by the database's clock; `plan` is the one in effect then.

    It has what decides how much they may use (`billing.plans.models.Entitled`), and grants no permission
    to do anything.
    """

    id: UUID
    email: str
    full_name: str
    role: Role
    plan: str
    subscription_status: str
    subscription: GrantingSubscription | None
    plan_ends_at: datetime | None
    overage_cap_usd: Decimal | None
    metered_customer: str | None
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_month: int | None
    parallel_replies: int | None
    highest_cap_usd: Decimal | None
    suspended_at: datetime | None
    suspended_reason: str | None
    created_at: datetime
    read_at: datetime


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """Limits of one account; None means the plan's. Tokens are quota tokens per period; the highest
    cap bounds what its owner may spend in a period beyond the base price."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_month: int | None = None
    parallel_replies: int | None = None
    highest_cap_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SignedInAt:
    """A live session."""

    id: UUID
    device: str
    opened_by: OpenedBy
    created_at: datetime
    last_seen_at: datetime
