"""Chat's tables and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    check,
    check_named,
    filled,
    index,
    length,
    not_negative,
    one_of,
)
from aisaas.language_models import Effort

ReplyStatus = Literal["streaming", "done", "stopped", "interrupted", "failed"]
# How a reply ended, as shown to its reader: `limit` is the length limit, `only_thinking` an end before
# the first word, `cut` a failure or a shutdown after the first output.
Ending = Literal[
    "complete",
    "limit",
    "filtered",
    "refused",
    "empty",
    "only_thinking",
    "stopped",
    "cut",
    "failed",
]


class Conversation(Table, table=True):
    __tablename__ = "conversations"
    __table_args__ = (
        sa.UniqueConstraint("id", "user_id"),
        one_of("effort", Effort),
        length("model", 200),
        length("title", 200),
        index("deleted", "deleted_at", where="deleted_at is not null"),
        index("user_created", "user_id", "created_at desc"),
        index(
            "user_recent", "user_id", "last_message_at desc", "id desc", where="deleted_at is null"
        ),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    user_id: UUID
    title: str = "New Conversation"
    model: str
    # The requested thinking effort; None leaves it to the model.
    effort: str | None = None
    last_message_at: datetime = Field(sa_column_kwargs=NOW)
    # The last message of the path in view; None for the newest. No foreign key: messages are only ever
    # deleted together with their conversation.
    leaf_id: UUID | None = None
    deleted_at: datetime | None = None
    created_at: datetime = Field(sa_column_kwargs=NOW)
    updated_at: datetime = Field(sa_column_kwargs=NOW)


class Message(Table, table=True):
    """A message. A reply's text is written when it settles; until then it is in the reply log.

    `cost_usd` is what the reply cost the operator, for admins only. What it takes from its owner's
    plan is `quota_tokens` and, beyond what is included, `overage_usd`.

    The messages of a conversation are a tree: each follows its parent, and messages with the same
    parent are versions of each other. `private.place_message` fills in `depth`.
    """

    __tablename__ = "messages"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["reply_to", "conversation_id"],
            ["messages.id", "messages.conversation_id"],
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["parent_id", "conversation_id"],
            ["messages.id", "messages.conversation_id"],
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("id", "conversation_id"),
        sa.ForeignKeyConstraint(
            ["conversation_id", "user_id"],
            ["conversations.id", "conversations.user_id"],
            ondelete="CASCADE",
        ),
        check_named("messages_check", "status <> 'streaming' or role = 'assistant'"),
        check("(parent_id is null) = (depth = 0)", "root"),
        length("content", 2_000_000, least=0),
        one_of("ending", Ending),
        check("role in ('user', 'assistant', 'system')", "role"),
        one_of("status", ReplyStatus),
        length("thinking", 2_000_000, least=0),
        *not_negative(
            "completion_tokens",
            "continued_from",
            "cost_usd",
            "depth",
            "history_cut",
            "overage_usd",
            "prompt_tokens",
            "quota_tokens",
            "thinking_seconds",
            "thinking_tokens",
            "token_count",
        ),
        index("conversation", "conversation_id", "created_at desc", "id desc"),
        index("owner", "conversation_id", "user_id"),
        index("parent", "conversation_id", "parent_id"),
        index("reply_to", "reply_to", "conversation_id"),
        index("streaming", "created_at", where="status = 'streaming'"),
    )

    id: UUID = Field(primary_key=True, sa_column_kwargs=NEW_ID)
    conversation_id: UUID
    user_id: UUID
    role: str
    content: str = ""
    status: str = "done"
    # The question it answers.
    reply_to: UUID | None = None
    # The message before it on its path; None for the first.
    parent_id: UUID | None = None
    # How many messages come before it on its path.
    depth: int
    model: str | None = None
    answered_by: str | None = None
    token_count: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: Decimal | None = Field(default=None, sa_type=sa.Numeric(10, 6))
    quota_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    overage_usd: Decimal | None = Field(default=None, sa_type=sa.Numeric(12, 6))
    history_cut: int = 0
    error_code: str | None = None
    # None for a question, a first call that runs, and a reply that ended before endings were stored.
    ending: str | None = None
    # What the model thought; never part of a prompt.
    thinking: str = ""
    thinking_tokens: int | None = None
    # None if it didn't think.
    thinking_seconds: int | None = None
    # Its length in characters when the last call began to continue it.
    continued_from: int = 0
    created_at: datetime = Field(sa_column_kwargs=filled("clock_timestamp()"))
    updated_at: datetime = Field(sa_column_kwargs=NOW)


class ModelTokenRatio(Table, table=True):
    """How many tokens a model's provider counts for one of ours (token_ratios.py)."""

    __tablename__ = "token_ratios"
    __table_args__ = (
        check("highest between 0.25 and 3", "highest"),
        length("model", 200),
        check("typical between 0.25 and 3", "typical"),
        *not_negative("disbelieved", "reports"),
        {"schema": "private"},
    )

    model: str = Field(primary_key=True)
    highest: Decimal = Field(default=Decimal(1), sa_type=sa.Numeric(8, 4))
    typical: Decimal = Field(default=Decimal(1), sa_type=sa.Numeric(8, 4))
    reports: int = Field(default=0, sa_type=sa.BigInteger)
    disbelieved: int = Field(default=0, sa_type=sa.BigInteger)
    updated_at: datetime = Field(sa_column_kwargs=NOW)


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """What a prompt needs of a message."""

    id: UUID
    role: str
    content: str
    reply_to: UUID | None
    token_count: int
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a conversation's tree a call stands: after a message, or where another one stands. With
    neither, at the end of the path in view."""

    after: UUID | None = None
    instead_of: UUID | None = None


IN_VIEW = Position()


@dataclass(frozen=True, slots=True)
class Thread:
    """What a call continues: the messages of its path, oldest first.

    `position_found` is False when the position isn't one of this conversation; `earlier` counts the
    messages before `said`, which are never read.
    """

    title: str
    effort: Effort | None
    position_found: bool
    said: tuple[HistoryMessage, ...]

    @property
    def earlier(self) -> int:
        return self.said[0].depth if self.said else 0

    @property
    def last(self) -> UUID | None:
        """What a new message follows; None for the first."""
        return self.said[-1].id if self.said else None


# All versions of each message that has several, by its id, oldest first.
Versions = Mapping[UUID, Sequence[UUID]]


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """The last messages of a path, oldest first; `has_older` when there are more above."""

    conversation: Conversation
    messages: Sequence[Message]
    has_older: bool
    versions: Versions = field(default_factory=dict[UUID, Sequence[UUID]])


@dataclass(frozen=True, slots=True)
class Started:
    """A reply that has begun."""

    conversation_id: UUID
    new_conversation: bool
    question: Message
    reply: Message
    versions: Versions = field(default_factory=dict[UUID, Sequence[UUID]])


@dataclass(frozen=True, slots=True)
class Segment:
    """Text of a running reply from `offset` (characters) on."""

    offset: int
    text: str
