"""Rows to what the chat page shows. Pure functions; no database, no browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from decimal import Decimal

from aisaas.chat.models import Conversation, ConversationPage, Message
from aisaas.ports import Model

KEY_LENGTH = 8
CUT = "This conversation is longer than the model can read; its oldest messages were left out here."
NOTES = {
    "stopped": "You stopped this reply. Only what was produced counts.",
    "interrupted": "The reply was cut off. What came is kept, and only that counts.",
    "failed": "The model gave no reply. Try again, or pick another model.",
}
# Where the end has a reason of its own.
REASONS = {
    "switched_off": "Replies are paused for now, so this one was stopped. Only what was produced counts."
}


@dataclasses.dataclass(frozen=True)
class MessageView:
    """A message; `text` is None where the browser has it already, `size` is its final length."""

    id: str = ""
    conversation: str = ""
    role: str = ""
    status: str = ""
    text: str | None = None
    size: int | None = None
    at: str = ""
    model: str = ""
    fallback: str = ""
    tokens: str = ""
    cost: str = ""
    cut: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class PageView:
    """Stored messages, oldest first. `older` when there are more above."""

    conversation: str = ""
    items: list[MessageView] = dataclasses.field(default_factory=list)
    older: bool = False


@dataclasses.dataclass(frozen=True)
class ConversationView:
    id: str
    title: str
    at: str


@dataclasses.dataclass(frozen=True)
class UndoView:
    """The conversation that was deleted last; `nonce` tells one deletion from the next."""

    id: str = ""
    title: str = ""
    nonce: str = ""


@dataclasses.dataclass(frozen=True)
class ModelView:
    id: str
    label: str


def stream_key(message_id: object) -> str:
    """Names a reply in each frame of its stream; short, since it is sent every time."""
    return str(message_id)[:KEY_LENGTH]


def message_view(
    message: Message, labels: Mapping[str, str], *, with_text: bool = True
) -> MessageView:
    running = message.status == "streaming"
    return MessageView(
        id=str(message.id),
        conversation=str(message.conversation_id),
        role=message.role,
        status=message.status,
        text=message.content if with_text else None,
        size=None if running else len(message.content),
        at=message.created_at.isoformat(timespec="microseconds"),
        model=_label(message.answered_by or message.model, labels),
        fallback=_fallback(message, labels),
        tokens=_tokens(message),
        cost=cost(message.cost_usd),
        cut=CUT if message.history_cut > 0 else "",
        note=REASONS.get(message.error_code or "", NOTES.get(message.status, "")),
    )


def page_view(
    page: ConversationPage, labels: Mapping[str, str], running_text: Mapping[object, str]
) -> PageView:
    """`running_text` has the text so far of each reply that is still running, by message id."""
    items = [message_view(message, labels) for message in page.messages]
    return PageView(
        conversation=str(page.conversation.id),
        items=[
            dataclasses.replace(item, text=running_text.get(message.id, item.text))
            for item, message in zip(items, page.messages, strict=True)
        ],
        older=page.has_older,
    )


def conversation_view(row: Conversation) -> ConversationView:
    return ConversationView(
        id=str(row.id), title=row.title, at=row.last_message_at.isoformat(timespec="seconds")
    )


def model_views(models: Sequence[Model]) -> list[ModelView]:
    return [ModelView(model.id, model.label) for model in models]


def retitled(
    items: Sequence[ConversationView], conversation_id: str, title: str
) -> list[ConversationView]:
    return [
        dataclasses.replace(item, title=title) if item.id == conversation_id else item
        for item in items
    ]


def cost(usd: Decimal | None) -> str:
    """Dollars to the sixth digit, as the ledger keeps them; nothing for an unknown cost."""
    if usd is None:
        return ""
    if usd == 0:
        return "$0"
    whole, _, digits = f"{usd:.6f}".partition(".")
    return f"${whole}.{digits.rstrip('0').ljust(2, '0')}"


def _tokens(message: Message) -> str:
    if message.prompt_tokens is None or message.completion_tokens is None:
        return ""
    return f"{message.prompt_tokens:,} + {message.completion_tokens:,} tokens"


def _label(model_id: str | None, labels: Mapping[str, str]) -> str:
    return labels.get(model_id, model_id) if model_id else ""


def _fallback(message: Message, labels: Mapping[str, str]) -> str:
    asked, answered = message.model, message.answered_by
    if not asked or not answered or asked == answered:
        return ""
    return f"{_label(asked, labels)} was unavailable; answered by {_label(answered, labels)}"
