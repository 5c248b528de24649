"""Rows to what the chat page shows. Pure functions; no database, no browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from aisaas import formats
from aisaas.billing.plans.terms import Plan
from aisaas.chat.catalogue import Succession
from aisaas.chat.endings import can_continue
from aisaas.chat.models import (
    Conversation,
    ConversationPage,
    Message,
    Versions,
)
from aisaas.db.paging import Moment, Page
from aisaas.language_models import Model
from aisaas.ui import routes

KEY_LENGTH = 8
NO_VERSIONS: Versions = {}
CUT = "This conversation is too long for the model, so this reply doesn't take its oldest messages into account."
# By how it ended, if known.
ENDINGS = {
    "limit": "This reply reached its length limit.",
    "filtered": "The provider's content filter blocked this reply. Rephrase your message, or choose "
    "another model.",
    "refused": "The model declined to answer. Rephrase your message, or choose another model.",
    "empty": "The model sent an empty reply. Retry, or choose another model.",
    "only_thinking": "The model used all of its tokens for thinking and didn't get to an answer. Retry, "
    "or choose less thinking or another model.",
}
NOTES = {
    "stopped": "You stopped this reply. Only the tokens generated so far count.",
    "interrupted": "This reply was cut off. Only the tokens generated so far count.",
    "failed": "The model didn't reply. Retry, or choose another model.",
}
EMPTY = "The model's reply is empty. Retry, or choose another model."
NOT_CONTINUED = "The model didn't continue this reply. Try again, or send a new message."
# By error code; otherwise by status.
REASONS = {
    "empty": ENDINGS["empty"],
    "filtered": ENDINGS["filtered"],
    "thinking_timeout": "The model was still thinking after the time limit. Only the tokens generated so "
    "far count. Retry, or choose less thinking or another model.",
    "unstorable": "This reply couldn't be saved. Retry to get a new one.",
    "switched_off": "Replies were paused, so this one was stopped. Only the tokens generated so far count.",
}


@dataclasses.dataclass(frozen=True)
class VersionsView:
    """Which version a message is, of how many, and the addresses of those beside it."""

    number: int
    count: int
    previous: str = ""
    next: str = ""


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
    ending: str = ""
    # What the model thought, None where the browser has it, its final length, and how long it took.
    thinking: str | None = None
    thinking_size: int | None = None
    thought: str = ""
    # Of a reply that runs: whether its model may be thinking, and for how many seconds it has run.
    thinks: bool = False
    waited: int = 0
    # Characters present when its last call began: an increase means that it was continued.
    since: int = 0
    # Whether it can be continued.
    go_on: bool = False
    # Whether another try may give a better reply.
    retry: bool = False
    # The message it follows. Where there are others that follow the same: which of them it is; None
    # where the browser has it.
    parent: str = ""
    versions: VersionsView | None = None


@dataclasses.dataclass(frozen=True)
class PageView:
    """Stored messages, oldest first: the last ones of a path, or those before the message `before`.

    `older` when there are more above; `at` is the message it was opened at.
    """

    conversation: str = ""
    before: str = ""
    at: str = ""
    items: list[MessageView] = dataclasses.field(default_factory=list[MessageView])
    older: bool = False


@dataclasses.dataclass(frozen=True)
class ConversationView:
    id: str
    title: str
    at: str


@dataclasses.dataclass(frozen=True)
class ListView:
    """A page of the list: the newest, or what is behind `before`, the cursor of a row.

    `more` when there are older ones behind the last row.
    """

    before: str = ""
    items: list[ConversationView] = dataclasses.field(default_factory=list[ConversationView])
    more: bool = False


@dataclasses.dataclass(frozen=True)
class ChangeView:
    """A conversation that is new, has changed, or is `gone`; `nonce` tells one change from the next."""

    nonce: str
    item: ConversationView
    gone: bool = False


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
    # How much it can be asked to think, least first.
    efforts: list[str] = dataclasses.field(default_factory=list[str])
    # Listed because the open conversation has it; it can't be chosen.
    retired: bool = False


@dataclasses.dataclass(frozen=True)
class RetiredView:
    """Says that the conversation's model is retired; `action` continues with `successor`, and both
    are empty if there is none. `plans` when another plan has it."""

    sentence: str = ""
    successor: str = ""
    action: str = ""
    plans: bool = False


def stream_key(message_id: object) -> str:
    """Names a reply in each frame of its stream; short, since it is sent every time."""
    return str(message_id)[:KEY_LENGTH]


def thinking_key(message_id: object) -> str:
    """The same for what a reply thinks; no identifier has that mark."""
    return f"{stream_key(message_id)}~"


def message_view(
    message: Message,
    labels: Mapping[str, str],
    *,
    with_text: bool = True,
    admin: bool = False,
    thinks: bool = False,
    versions: Versions = NO_VERSIONS,
) -> MessageView:
    """`thinks` when a running reply's model may think before its first word."""
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
        tokens=_tokens(message) if _has_receipt(message) else "",
        charge=charge(message.overage_usd),
        cost=_cost(message) if admin and _has_receipt(message) else "",
        cut=CUT if message.history_cut > 0 else "",
        note=_note(message),
        ending="" if running else message.ending or "",
        thinking=message.thinking if with_text else None,
        thinking_size=None if running else len(message.thinking),
        thought=_thought(message.thinking_seconds),
        thinks=running and thinks,
        waited=_seconds_since(message.updated_at) if running else 0,
        since=message.continued_from,
        go_on=can_continue(message),
        retry=_is_lacking(message),
        parent=str(message.parent_id or ""),
        versions=versions_view(message, versions),
    )


def versions_view(message: Message, versions: Versions) -> VersionsView | None:
    ids = versions.get(message.id, ())
    if message.id not in ids:
        return None
    at = ids.index(message.id)

    def address(place: int) -> str:
        there = 0 <= place < len(ids)
        return routes.message(message.conversation_id, ids[place]) if there else ""

    return VersionsView(at + 1, len(ids), address(at - 1), address(at + 1))


def page_view(
    page: ConversationPage,
    labels: Mapping[str, str],
    running_text: Mapping[UUID, str],
    *,
    running_thinking: Mapping[UUID, str] = {},
    before: UUID | None = None,
    at: UUID | None = None,
    admin: bool = False,
    thinks: bool = False,
) -> PageView:
    """`running_text` has the text so far of each running reply, by message id, and `running_thinking`
    what it has thought."""
    items = [
        message_view(message, labels, admin=admin, thinks=thinks, versions=page.versions)
        for message in page.messages
    ]
    return PageView(
        conversation=str(page.conversation.id),
        before=str(before or ""),
        at=str(at or ""),
        items=[
            dataclasses.replace(
                item,
                text=running_text.get(message.id, item.text),
                thinking=running_thinking.get(message.id, item.thinking),
            )
            for item, message in zip(items, page.messages, strict=True)
        ],
        older=page.has_older,
    )


def conversation_view(row: Conversation) -> ConversationView:
    return ConversationView(id=str(row.id), title=row.title, at=_moment(row.last_message_at))


def list_view(found: Page[Conversation, datetime, UUID], before: Moment | None = None) -> ListView:
    return ListView(
        before=f"{_moment(before.at)}/{before.id}" if before else "",
        items=[conversation_view(row) for row in found.found],
        more=found.older,
    )


def change_view(row: Conversation, *, gone: bool = False) -> ChangeView:
    return ChangeView(uuid4().hex[:KEY_LENGTH], conversation_view(row), gone)


def model_views(models: Sequence[Model]) -> list[ModelView]:
    return [
        ModelView(model.id, model.label, list[str](model.reasoning.efforts)) for model in models
    ]


def retired_view(succession: Succession, plan: str, plans: Mapping[str, Plan]) -> RetiredView:
    label, successor = succession.label, succession.successor
    if successor is not None and plan in successor.plans:
        sentence = f"{label} has been retired."
        return RetiredView(sentence, successor.id, f"Continue with {successor.label}")
    having = next((p.label for p in plans.values() if successor and p.id in successor.plans), None)
    if successor is None or having is None:
        return RetiredView(f"{label} has been retired. Choose another model to continue.")
    return RetiredView(
        f"{label} has been retired. Its successor, {successor.label}, is on the {having} plan; you can "
        "also choose another model.",
        plans=True,
    )


def charge(usd: Decimal | None) -> str:
    """What a reply costs beyond what the plan includes; nothing is nothing to say."""
    return f"{formats.exact_usd(usd)} extra" if usd else ""


def _moment(at: datetime) -> str:
    """Such that the order of texts is that of time, and nothing is lost for a cursor."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _has_text(message: Message) -> bool:
    return any(character.isprintable() and character != " " for character in message.content)


def _is_lacking(message: Message) -> bool:
    """A reply that was cut off, or has no visible text."""
    if message.role != "assistant" or message.status == "streaming":
        return False
    return message.status != "done" or message.ending == "limit" or not _has_text(message)


def _note(message: Message) -> str:
    if message.status == "streaming":
        return ""
    if message.error_code in REASONS:
        return REASONS[message.error_code]
    if message.error_code and 0 < message.continued_from == len(message.content):
        return NOT_CONTINUED
    if message.ending in ENDINGS:
        return ENDINGS[message.ending]
    if message.status == "done" and _is_lacking(message):
        return EMPTY
    return NOTES.get(message.status, "")


def _has_receipt(message: Message) -> bool:
    """Whether anything was generated or charged."""
    return bool(message.completion_tokens or message.quota_tokens or message.cost_usd)


def _thought(seconds: int | None) -> str:
    if seconds is None:
        return ""
    if seconds < 1:
        return "Thought for a moment"
    minutes, rest = divmod(seconds, 60)
    return f"Thought for {minutes} min {rest} s" if minutes else f"Thought for {rest} s"


def _seconds_since(at: datetime) -> int:
    return max(int((datetime.now(UTC) - at).total_seconds()), 0)


def _tokens(message: Message) -> str:
    """The generated tokens and, if the model's weight changes it, the number they count as."""
    prompt, completion = message.prompt_tokens, message.completion_tokens
    if not prompt and not completion:
        return ""
    shown = f"{prompt or 0:,} tokens in, {completion or 0:,} out"
    if message.thinking_tokens:
        shown += f" ({message.thinking_tokens:,} thinking)"
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
