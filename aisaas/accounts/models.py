"""Accounts' tables and values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

NOW = sa.text("now()")
Timestamp = sa.DateTime(timezone=True)


class Profile(SQLModel, table=True):
    """An account. Only `full_name` and `avatar_url` are the user's to write."""

    __tablename__ = "profiles"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    email: str
    full_name: str = ""
    avatar_url: str | None = None
    role: str = "user"
    plan: str = "free"
    subscription_status: str = "free"
    stripe_customer_id: str | None = None
    subscription_id: str | None = None
    period_start: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    period_end: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    plan_ends_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    overage_cap_usd: Decimal | None = Field(default=None, sa_type=sa.Numeric(8, 2))  # pyright: ignore[reportArgumentType]
    # Of the running period, once it was upgraded: what it includes, and what was charged before. Then
    # the plan that begins when it ends, where it is another one.
    period_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    period_spent_usd: Decimal = Field(default=Decimal(0), sa_type=sa.Numeric(14, 6))  # pyright: ignore[reportArgumentType]
    next_plan: str | None = None
    # When the payment provider is asked about them again, whatever its webhooks said.
    billing_look_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_month: int | None = Field(default=None, sa_type=sa.BigInteger)
    parallel_replies: int | None = None
    highest_cap_usd: Decimal | None = Field(default=None, sa_type=sa.Numeric(8, 2))  # pyright: ignore[reportArgumentType]
    suspended_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    suspended_reason: str | None = None
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    updated_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class SessionRow(SQLModel, table=True):
    """A sign-in. The browser holds the token whose hash this is; the auth tokens are encrypted."""

    __tablename__ = "sessions"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    token_hash: bytes
    user_id: UUID
    access_token: bytes
    refresh_token: bytes
    access_expires_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    verified_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    refresh_claimed_until: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    user_agent: str = ""
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    last_seen_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    expires_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    revoked_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    opened_by: str = "password"
    # Until then, the session stands for having read the account's mail a moment ago.
    recovered_until: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class RemovedAccount(SQLModel, table=True):
    """An account that is gone, as long as anything of it is left to be removed."""

    __tablename__ = "removed_accounts"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    user_id: UUID = Field(primary_key=True)
    removed_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class ProfilePicture(SQLModel, table=True):
    """A picture that a user put here. `version` is its hash, and part of its address."""

    __tablename__ = "profile_pictures"  # pyright: ignore[reportAssignmentType]

    user_id: UUID = Field(primary_key=True)
    version: str = Field(primary_key=True)
    content: bytes
    content_type: str
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


OpenedBy = Literal[
    "sign_up",
    "password",
    "confirmation",
    "magic_link",
    "recovery",
    "invite",
    "email_change",
    "provider",
]


@dataclass(frozen=True, slots=True)
class GrantingSubscription:
    """The subscription that grants somebody's plan, and its period as last heard of."""

    id: str
    period_start: datetime
    period_end: datetime
    # Of this period: the tokens that it includes, where an upgrade has made it another number than
    # the plan's, and what was charged as extra usage before the upgrade.
    period_tokens: int | None = None
    spent_usd: Decimal = Decimal(0)
    # The plan that begins when the period ends, where it is another one.
    next_plan: str | None = None


class Entitled(Protocol):
    """What decides how much somebody may use. A `Principal` has it, and whoever an admin looks at."""

    @property
    def plan(self) -> str: ...
    @property
    def subscription_status(self) -> str: ...
    @property
    def subscription(self) -> GrantingSubscription | None: ...
    @property
    def overage_cap_usd(self) -> Decimal | None: ...
    @property
    def tokens_per_month(self) -> int | None: ...
    @property
    def highest_cap_usd(self) -> Decimal | None: ...
    @property
    def metered_customer(self) -> str | None: ...
    @property
    def read_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, freshly resolved from the session cookie. Ids from the browser are no proof.

    `plan` is what holds at this moment; `read_at` is this moment by the database's clock.
    """

    user_id: UUID
    session_id: UUID
    email: str
    full_name: str
    avatar_url: str | None
    role: Literal["user", "admin"]
    plan: str
    subscription_status: str
    # None on the free plan, and for a plan that was given without one.
    subscription: GrantingSubscription | None
    # When the plan ends, if it was cancelled or isn't paid for.
    plan_ends_at: datetime | None
    # The user's own spending cap; None for the plan's.
    overage_cap_usd: Decimal | None
    suspended: bool
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_month: int | None
    metered_customer: str | None
    # The session was opened by a recovery or an invitation a moment ago: whoever has it reads the
    # account's mail, and may choose a password without knowing the current one.
    recovered: bool
    # Scopes of engaged kill switches, read in the same round trip.
    switches: frozenset[str]
    read_at: datetime
    # Set for this account; None means the plan's.
    parallel_replies: int | None = None
    highest_cap_usd: Decimal | None = None
    # The newest change of any model, read in the same round trip.
    models_revision: int = 0

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


@dataclass(frozen=True, slots=True)
class OwnSession:
    """A sign-in of the user, as the list of them shows it."""

    id: UUID
    device: str
    opened_by: OpenedBy
    created_at: datetime
    last_seen_at: datetime
    current: bool
