"""Accounts' tables and values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from aisaas.db.columns import (
    NEW_ID,
    NOW,
    Table,
    Usd,
    auth_users,
    check,
    check_named,
    index,
    length,
    not_negative,
    one_of,
    trigram_index,
)

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


class Profile(Table, table=True):
    """An account. Users may write only `full_name` and `avatar_url`."""

    __tablename__ = "profiles"
    __table_args__ = (
        check(
            "char_length(avatar_url) <= 2048 and (avatar_url ~ '^https://'"
            " or avatar_url ~ ('^/api/account/picture/' || id::text || '\\?v=[0-9a-f]{16,64}$'))",
            "avatar_url",
        ),
        check_named("profiles_check", "(period_start is null) = (period_end is null)"),
        check_named("profiles_check1", "period_end > period_start"),
        length("full_name", 120, least=0),
        check("parallel_replies between 1 and 1000", "parallel_replies"),
        check("role in ('user', 'admin')", "role"),
        check(
            "subscription_status in ('free', 'active', 'past_due', 'cancelled', 'trialing')",
            "subscription_status",
        ),
        *not_negative(
            "highest_cap_usd",
            "overage_cap_usd",
            "period_tokens",
            "requests_per_day",
            "requests_per_minute",
            "tokens_per_month",
        ),
        index("address", "lower(email)", "id"),
        trigram_index("address_words", "lower(email)"),
        index("admins", "id", where="role = 'admin'"),
        index("customer_look", "billing_look_at", where="stripe_customer_id is not null"),
        index("joined", "created_at", "id"),
        trigram_index("name_words", "lower(full_name)"),
        index("plan_ends", "plan_ends_at", where="plan_ends_at is not null"),
        index("plan", "plan", "id"),
        index("status", "subscription_status", "id"),
        index("suspended", "id", where="suspended_at is not null"),
    )

    id: UUID = Field(
        primary_key=True, sa_column_args=[sa.ForeignKey(auth_users.c.id, ondelete="CASCADE")]
    )
    email: str
    full_name: str = ""
    avatar_url: str | None = None
    role: str = "user"
    plan: str = "free"
    subscription_status: str = "free"
    stripe_customer_id: str | None = Field(default=None, unique=True)
    subscription_id: str | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    plan_ends_at: datetime | None = None
    overage_cap_usd: Decimal | None = Field(default=None, sa_type=sa.Numeric(8, 2))
    # For the current period after an upgrade: its included tokens, and what was charged before. Then
    # the next period's plan, if it differs.
    period_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    period_spent_usd: Decimal = Field(default=Decimal(0), sa_type=Usd)
    next_plan: str | None = None
    # When to look the user up at the payment provider again, regardless of its webhooks.
    billing_look_at: datetime | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_month: int | None = Field(default=None, sa_type=sa.BigInteger)
    parallel_replies: int | None = None
    highest_cap_usd: Decimal | None = Field(default=None, sa_type=sa.Numeric(8, 2))
    suspended_at: datetime | None = None
    suspended_reason: str | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)
    updated_at: datetime = Field(sa_column_kwargs=NOW)


class SessionRow(Table, table=True):
    """A sign-in. The browser holds the token whose hash this is; the auth tokens are encrypted."""

    __tablename__ = "sessions"
    __table_args__ = (
        one_of("opened_by", OpenedBy),
        index("expired", "expires_at"),
        index("revoked", "revoked_at", where="revoked_at is not null"),
        index("seen", "last_seen_at", "user_id"),
        index("user", "user_id", "created_at desc"),
        {"schema": "private"},
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    token_hash: bytes = Field(unique=True)
    user_id: UUID = Field(foreign_key="profiles.id", ondelete="CASCADE")
    access_token: bytes
    refresh_token: bytes
    access_expires_at: datetime
    verified_at: datetime = Field(sa_column_kwargs=NOW)
    refresh_claimed_until: datetime | None = None
    user_agent: str = ""
    created_at: datetime = Field(sa_column_kwargs=NOW)
    last_seen_at: datetime = Field(sa_column_kwargs=NOW)
    expires_at: datetime
    revoked_at: datetime | None = None
    opened_by: str = "password"
    # Until then, the session proves that its user just read the account's mail.
    recovered_until: datetime | None = None


class RemovedAccount(Table, table=True):
    """A deleted account, until all of its data is removed."""

    __tablename__ = "removed_accounts"
    __table_args__ = ({"schema": "private"},)

    user_id: UUID = Field(primary_key=True)
    removed_at: datetime = Field(sa_column_kwargs=NOW)


class ProfilePicture(Table, table=True):
    """A picture that a user uploaded. `version` is its hash, and part of its address."""

    __tablename__ = "profile_pictures"
    __table_args__ = (
        check("(octet_length(content) >= 1) and (octet_length(content) <= 262144)", "content"),
        check("content_type in ('image/png', 'image/jpeg', 'image/webp')", "content_type"),
        check("version ~ '^[0-9a-f]{16,64}$'", "version"),
    )

    user_id: UUID = Field(primary_key=True, foreign_key="profiles.id", ondelete="CASCADE")
    version: str = Field(primary_key=True)
    content: bytes
    content_type: str
    created_at: datetime = Field(sa_column_kwargs=NOW)


@dataclass(frozen=True, slots=True)
class GrantingSubscription:
    """The subscription that grants a user's plan, and its period as last reported."""

    id: str
    period_start: datetime
    period_end: datetime
    # For this period: its included tokens, if an upgrade made them differ from the plan's, and what
    # was charged as extra usage before the upgrade.
    period_tokens: int | None = None
    spent_usd: Decimal = Decimal(0)
    # The plan that starts when the period ends, if it differs.
    next_plan: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, freshly resolved from the session cookie, and what authorizes them. Ids from the
    browser are no proof.

    What other domains know of them is read in the same round trip, by those domains
    (`aisaas.callers.Caller`).
    """

    user_id: UUID
    session_id: UUID
    email: str
    full_name: str
    avatar_url: str | None
    role: Literal["user", "admin"]
    suspended: bool
    # The session was just opened by a recovery or an invitation: its user reads the account's mail,
    # and may choose a password without knowing the current one.
    recovered: bool

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


@dataclass(frozen=True, slots=True)
class OwnSession:
    """A user's sign-in, as their list of sessions shows it."""

    id: UUID
    device: str
    opened_by: OpenedBy
    created_at: datetime
    last_seen_at: datetime
    current: bool
