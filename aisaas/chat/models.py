"""Chat's tables and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from aisaas.ports import Effort

Timestamp = sa.DateTime(timezone=True)


class Conversation(SQLModel, table=True):
    __tablename__ = "conversations"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    user_id: UUID
    title: str = "New Conversation"
    model: str
    # How much the model is asked to think; None leaves it to the model.
    effort: str | None = None
    last_message_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    deleted_at: datetime | None = Field(default=None, sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    updated_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class Message(SQLModel, table=True):
    """A message. A reply's text is written when it settles; until then it is in the reply log.

    `cost_usd` is what the reply cost the operator, for admins only. What it takes from its owner's
    plan is `quota_tokens` and, beyond what is included, `overage_usd`.
    """

    __tablename__ = "messages"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(primary_key=True)
    conversation_id: UUID
    user_id: UUID
    role: str
    content: str = ""
    status: str = "done"
    reply_to: UUID | None = None
    model: str | None = None
    answered_by: str | None = None
    token_count: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: Decimal | None = Field(default=None, sa_type=sa.Numeric(10, 6))  # pyright: ignore[reportArgumentType]
    quota_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    overage_usd: Decimal | None = Field(default=None, sa_type=sa.Numeric(12, 6))  # pyright: ignore[reportArgumentType]
    history_cut: int = 0
    error_code: str | None = None
    # None for a question, for a reply that runs, and for one that ended before endings were stored.
    ending: str | None = None
    # What the model thought; never part of a prompt.
    thinking: str = ""
    thinking_tokens: int | None = None
    # None where it didn't think.
    thinking_seconds: int | None = None
    # Characters that were there when the last call began to add to it.
    continued_from: int = 0
    created_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]
    updated_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


class ModelTokenRatio(SQLModel, table=True):
    """How many tokens a model's provider counts for one of ours (token_ratios.py)."""

    __tablename__ = "token_ratios"  # pyright: ignore[reportAssignmentType]
    __table_args__ = {"schema": "private"}

    model: str = Field(primary_key=True)
    highest: Decimal = Field(sa_type=sa.Numeric(8, 4))  # pyright: ignore[reportArgumentType]
    typical: Decimal = Field(sa_type=sa.Numeric(8, 4))  # pyright: ignore[reportArgumentType]
    reports: int = Field(sa_type=sa.BigInteger)
    disbelieved: int = Field(sa_type=sa.BigInteger)
    updated_at: datetime = Field(sa_type=Timestamp)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True)
class Said:
    """What a prompt needs of a message."""

    id: UUID
    role: str
    content: str
    reply_to: UUID | None
    token_count: int


@dataclass(frozen=True, slots=True)
class Thread:
    """What a call continues: messages oldest first, up to the question that is answered again.

    `question_found` is False when that question isn't one of this conversation; `earlier` counts the
    messages before `said`, which are never read.
    """

    title: str
    effort: Effort | None
    question_found: bool
    said: tuple[Said, ...]
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class ConversationCursor:
    """A place in a user's list of conversations: behind the one used then, with this id."""

    last_message_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class ConversationList:
    """Conversations, the most recently used first; `has_more` when there are older ones."""

    conversations: Sequence[Conversation]
    has_more: bool


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """The newest messages of a conversation, oldest first; `has_older` when there are more above."""

    conversation: Conversation
    messages: Sequence[Message]
    has_older: bool


@dataclass(frozen=True, slots=True)
class Started:
    """A reply that has begun."""

    conversation_id: UUID
    new_conversation: bool
    question: Message
    reply: Message


@dataclass(frozen=True, slots=True)
class Segment:
    """Text of a running reply from `offset` (characters) on."""

    offset: int
    text: str
