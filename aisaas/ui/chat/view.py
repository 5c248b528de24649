"""Rows to what the chat page shows. Pure functions; no database, no browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from decimal import Decimal

from aisaas import formats
from aisaas.chat.models import Conversation, ConversationPage, Message
from aisaas.ports import Model

KEY_LENGTH = 8
CUT = "This conversation is too long for the model, so this reply doesn't take its oldest messages into account."
NOTES = {
    "stopped": "You stopped this reply. Only the tokens generated so far count.",
    "interrupted": "This reply was cut off. Only the tokens generated so far count.",
    "failed": "The model didn't reply. Retry, or choose another model.",
}
# By error code; otherwise by status.
REASONS = {
    "empty": "The model sent an empty reply. Retry, or choose another model.",
    "filtered": "The provider's content filter blocked this reply. Rephrase your message, or choose "
    "another model.",
    "unstorable": "This reply couldn't be saved. Retry to get a new one.",
    "switched_off": "Replies were paused, so this one was stopped. Only the tokens generated so far count.",
}


@dataclasses.dataclass(frozen=True)
class MessageView:
    """A message; `text` is None where the browser already has it, `size` is its final length.

    `tokens` and `charge` say what a reply takes from the plan. `cost`, what it costs the operator, is
    for admins: it is empty for everybody else, because all of this is sent to the browser.
    """

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
    charge: str = ""
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
    message: Message, labels: Mapping[str, str], *, with_text: bool = True, admin: bool = False
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
        charge=charge(message.overage_usd),
        cost=_cost(message) if admin else "",
        cut=CUT if message.history_cut > 0 else "",
        note=REASONS.get(message.error_code or "", NOTES.get(message.status, "")),
    )


def page_view(
    page: ConversationPage,
    labels: Mapping[str, str],
    running_text: Mapping[object, str],
    *,
    admin: bool = False,
) -> PageView:
    """`running_text` has the text so far of each running reply, by message id."""
    items = [message_view(message, labels, admin=admin) for message in page.messages]
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


def charge(usd: Decimal | None) -> str:
    """What a reply costs beyond what the plan includes; nothing is nothing to say."""
    return f"{formats.exact_usd(usd)} extra" if usd else ""


def _tokens(message: Message) -> str:
    """What was generated and, where the model's weight makes a difference, what it counts as."""
    prompt, completion = message.prompt_tokens, message.completion_tokens
    if not prompt and not completion:
        return ""
    shown = f"{prompt or 0:,} tokens in, {completion or 0:,} out"
    counted = message.quota_tokens
    weighted = counted is not None and counted != (prompt or 0) + (completion or 0)
    return f"{shown}, counted as {counted:,}" if weighted else shown


def _cost(message: Message) -> str:
    return f"provider cost {formats.exact_usd(message.cost_usd)}" if message.cost_usd else ""


def _label(model_id: str | None, labels: Mapping[str, str]) -> str:
    return labels.get(model_id, model_id) if model_id else ""


def _fallback(message: Message, labels: Mapping[str, str]) -> str:
    asked, answered = message.model, message.answered_by
    if not asked or not answered or asked == answered:
        return ""
    return f"{_label(asked, labels)} was unavailable, so {_label(answered, labels)} replied"
