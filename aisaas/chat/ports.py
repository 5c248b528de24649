"""What a reply needs from outside: the model, and a log of its text.

`Admitted` is the passed checks as a type: the model port takes nothing else, and only `chat.guards`
constructs it (a test reads the sources to hold that).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from aisaas.billing.reservations.models import Purpose
from aisaas.language_models import Effort, Model, ModelFacts, Reasoning, Usage
from aisaas.prices import Price

Speaker = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as the model sees it."""

    speaker: Speaker
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that passed every guard, and the reservation that pays for it.

    `models` may be called, in order: the requested one, then its fallbacks; the reservation's money
    covers the most expensive of them. `max_tokens` bounds the completion, thinking included.
    `effort` is for models that support it; the others think as they do by default.
    """

    request_id: UUID
    user_id: UUID
    # The session that made the call: when it ends, so does the call.
    session_id: UUID
    purpose: Purpose
    plan: str
    models: tuple[Model, ...]
    prompt: tuple[Turn, ...]
    # The best count of the prompt, charged if the provider's own never arrives.
    prompt_count: int
    max_tokens: int
    history_cut: int
    # The Stripe customer whose meter this goes to; None for the free tier.
    metered_customer: str | None
    effort: Effort | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the completion: without NUL, and without halves of surrogate pairs."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """The next piece of what the model thinks, cleaned like `Text`; empty where the provider says that
    it thinks but not what."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The provider said why it ended: `stop`, `length`, `content_filter`, `refusal`, …"""

    reason: str


Chunk = Text | Thinking | Usage | Finish


class LanguageModel(Protocol):
    """The one door to providers."""

    async def warm(self) -> None:
        """Load what a call needs, so that the first user doesn't wait for it."""
        ...

    def stream(self, admitted: Admitted, model: Model) -> AsyncGenerator[Chunk]:
        """Call `model` (one of `admitted.models`) and yield what it sends.

        The iterator ends when the provider's answer ends, or soon after its `Finish` if the provider
        leaves the connection open; without a `Finish` it was cut.
        Closing it (`aclose`, or cancelling the task that iterates) aborts the upstream call.

        Raises:
            ProviderError: refused, unreachable, too slow, or rubbish.
        """
        ...

    def heard_at(self, request_id: UUID) -> float | None:
        """When data last arrived for a running call, by the event loop's clock: text, or a keep-alive.
        None before the first."""
        ...

    def facts_of(self, upstream: str) -> ModelFacts:
        """What is known of an upstream model besides its price."""
        ...

    def reasoning_of(self, upstream: str) -> Reasoning:
        """How an upstream model thinks, if known."""
        ...

    def price_of(self, upstream: str) -> Price | None:
        """The price of an upstream model, or None when nothing is known about it."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by a local tokenizer, an estimate for other vendors' models."""
        ...


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A piece of a reply: `offset` counts characters from the reply's start."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class LogWrite:
    """What to add to a log: text, facts that a settling process would need, or neither, to check it."""

    log_id: UUID
    text: LogEntry | None = None
    model: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class LoggedReply:
    """What the log holds of a reply: `text` is its beginning without a gap. `model` answered; `usage` is
    the provider's, if it came."""

    text: str
    model: str | None
    usage: Usage | None
    closed: bool


class ReplyLog(Protocol):
    """Text of running replies, outside the process: for other processes and for recovery."""

    async def write(self, writes: Sequence[LogWrite]) -> Sequence[bool]:
        """Add to several logs. Of each: False when it lacks its text's beginning or its facts; then
        earlier data is lost, and all of it has to be written again. An entry at offset 0 has all of
        the text so far.

        Raises:
            DependencyError: it is unknown what was added; it may be written again.
        """
        ...

    async def read(self, message_id: UUID) -> LoggedReply | None: ...

    def follow(self, message_id: UUID, offset: int) -> AsyncIterator[LogEntry]:
        """Text from `offset` on, without gaps, until the reply is closed."""
        ...

    async def forget(self, message_id: UUID) -> None:
        """Remove everything logged before, text and facts."""
        ...

    async def close(self, message_id: UUID) -> None:
        """End the log: followers end, and it expires soon."""
        ...
