"""Accounts' tables and values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
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
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_month: int | None = Field(default=None, sa_type=sa.BigInteger)
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


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, freshly resolved from the session cookie. Ids from the browser are no proof."""

    user_id: UUID
    session_id: UUID
    email: str
    full_name: str
    avatar_url: str | None
    role: Literal["user", "admin"]
    plan: str
    subscription_status: str
    suspended: bool
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_month: int | None
    metered_customer: str | None
    # Scopes of engaged kill switches, read in the same round trip.
    switches: frozenset[str]

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"
