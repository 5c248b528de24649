"""A conversation's title: a single call through the same guards as any other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

from aisaas.billing.providers.health import ANSWERED, Attempt
from aisaas.billing.reservations.quota import cost_usd
from aisaas.callers import Caller
from aisaas.chat import store
from aisaas.chat.circuits import Circuits
from aisaas.chat.grant import Grant
from aisaas.chat.guards import AdmissionContext, ReplyRequest, admit, thinking_tokens
from aisaas.chat.pace import Pace
from aisaas.chat.ports import Admitted, Finish, LanguageModel, ReplyLog, Text, Thinking, Turn
from aisaas.chat.prompt import MESSAGE_OVERHEAD, count
from aisaas.chat.settle import Produced, ProviderFailure, Settler
from aisaas.chat.title_text import READ_CHARS, first_words, title_of
from aisaas.chat.track import Track, close, flush, thinking_id
from aisaas.errors import ModelUnavailable, ProviderError, Refusal
from aisaas.language_models import Effort, Model, Usage
from aisaas.observe.metrics import PROVIDER_ERRORS
from aisaas.observe.tracing import span

log = logging.getLogger(__name__)

UNTITLED = "New Conversation"
INSTRUCTION = (
    "Write a title of two to six words for a conversation that starts with the following "
    "message. Answer with the title only: no quotes, no full stop."
)
QUESTION_CHARS = 1000
TITLE_TOKENS = 24
TITLE_SECONDS = 20.0
# Keeps the lease of a call alive inside the block.
KeepLease = Callable[[UUID], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class TitleParts:
    """What making a title needs."""

    context: AdmissionContext
    settler: Settler
    model: LanguageModel
    log: ReplyLog
    keep_lease: KeepLease
    circuits: Circuits
    # Called with each attempt at a provider.
    attempted: Callable[[Attempt], None]


async def make_title(
    parts: TitleParts, caller: Caller, conversation_id: UUID, question: str
) -> str | None:
    """Name a conversation; the new title, or None when it has one by now.

    After a refused or failed call, or an answer without visible text, the title is the question's
    first words.
    """
    with span("title"):
        answer = await _ask_model(parts, caller, conversation_id, question)
    title = title_of(answer) or first_words(question) or UNTITLED
    async with parts.context.user.as_user(caller.user_id) as session:
        changed = await store.set_title(session, conversation_id, title, instead_of=UNTITLED)
    return title if changed else None


async def _ask_model(
    parts: TitleParts, caller: Caller, conversation_id: UUID, question: str
) -> str:
    context = parts.context
    excerpt = question[:QUESTION_CHARS]
    turns = (
        Turn("system", INSTRUCTION, context.count_tokens(INSTRUCTION) + MESSAGE_OVERHEAD),
        Turn("user", excerpt, context.count_tokens(excerpt) + MESSAGE_OVERHEAD),
    )
    try:
        model = _cheapest(context, caller, turns)
        call = ReplyRequest(
            caller=caller,
            purpose="title",
            text=excerpt,
            model_id=model.id,
            effort=_least_effort(model),
            conversation_id=None,
            max_tokens=TITLE_TOKENS,
            turns=turns,
            request_id=uuid4(),
        )
        _, admitted = await admit(context, call)
    except Refusal as refusal:
        log.info("no title by the model: %s", refusal.code)
        return ""
    with parts.keep_lease(admitted.request_id):
        produced = await _complete(parts, admitted)
        await parts.settler.settle(
            admitted, produced, conversation_id=conversation_id, message_id=None
        )
    await _forget(parts.log, admitted.request_id)
    return produced.text


def _cheapest(context: AdmissionContext, caller: Caller, turns: Sequence[Turn]) -> Model:
    """The plan's model for which such a call costs us least, then its owner.

    Raises ModelUnavailable when none is on sale.
    """
    plan = context.quota.plan_of(caller.billing).id
    offered = context.catalogue.for_plan(plan)
    if not offered:
        raise ModelUnavailable
    prompt = count(turns)

    def cost(model: Model) -> tuple[Decimal, Decimal]:
        completion = TITLE_TOKENS + thinking_tokens(model, _least_effort(model))
        return (
            cost_usd(model, prompt_tokens=prompt, completion_tokens=completion),
            model.weight,
        )

    return min(offered, key=cost)


def _least_effort(model: Model) -> Effort | None:
    """A title needs no long thinking."""
    return next(iter(model.reasoning.efforts), None)


class _Answer:
    """The answer of a title's call; all of it is logged as it arrives."""

    def __init__(self, parts: TitleParts, admitted: Admitted, model: Model) -> None:
        self.model = model
        self.usage: Usage | None = None
        self.finished = False
        self.said = Track(admitted.request_id, self._facts)
        self.thought = Track(thinking_id(admitted.request_id), self._facts)
        self.beyond = ""
        self.grant = Grant(admitted.max_tokens, parts.model.count_tokens)
        self.pace = Pace()
        self._parts = parts
        self._admitted = admitted

    @property
    def came(self) -> bool:
        return self.said.grew or self.thought.grew

    async def read(self) -> None:
        """Read until it is finished, cut, or the grant is used up.

        Raises ProviderError, TimeoutError.
        """
        await self._note()
        self.pace = Pace()
        async with (
            asyncio.timeout(TITLE_SECONDS),
            aclosing(self._parts.model.stream(self._admitted, self.model)) as chunks,
        ):
            async for chunk in chunks:
                match chunk:
                    case Text(text):
                        self.pace.said(text)
                        await self._take(self.said, text)
                    case Thinking(text):
                        self.pace.thought(text)
                        await self._take(self.thought, text)
                    case Usage():
                        self.usage = chunk
                        await self._note()
                    case Finish():
                        self.finished = True
                if self.grant.spent:
                    # The model ignores its limit: the text so far is the answer.
                    return
                if len(self.said.text) > READ_CHARS:
                    raise ProviderError("overrun")
        if not self.finished:
            raise ProviderError("cut")

    async def _take(self, track: Track, text: str) -> None:
        fits = self.grant.take(text)
        track.text += fits
        self.beyond += text[len(fits) :]
        await flush(self._parts.log, [track])

    async def _note(self) -> None:
        """Log the answering model and its usage, for the recovery in case this process dies."""
        self.said.wants_facts = True
        await flush(self._parts.log, [self.said])

    def _facts(self) -> tuple[str, Usage | None]:
        return self.model.id, self.usage


async def _complete(parts: TitleParts, admitted: Admitted) -> Produced:
    answer = _Answer(parts, admitted, _first_to_ask(parts.circuits, admitted))
    model = answer.model
    error: str | None = None
    try:
        await answer.read()
    except ProviderError as caught:
        error = caught.kind
    except TimeoutError:
        error = "timeout"
    except Exception:
        log.exception("model adapter failed")
        error = "adapter"
    parts.attempted(answer.pace.attempt(model, error or ANSWERED, answer.usage))
    if error is None:
        parts.circuits.succeeded(model)
    else:
        # A provider that answers, but too slowly for a title, is not in trouble.
        if error != "timeout" or not answer.came:
            parts.circuits.failed(model, error)
        PROVIDER_ERRORS.labels(model.provider, error).inc()
    spent = answer.grant.spent
    return Produced(
        outcome="done" if answer.finished or spent else "interrupted" if answer.came else "failed",
        text=answer.said.text,
        answered=model,
        usage=answer.usage,
        complete=answer.finished and not spent,
        started=True,
        error_code=error,
        failures=(ProviderFailure(model, error),) if error else (),
        beyond=answer.beyond,
        thinking=answer.thought.text,
        thinks=model.thinks(admitted.effort),
    )


def _first_to_ask(circuits: Circuits, admitted: Admitted) -> Model:
    """The cheapest, unless its provider is in trouble and another model answers without thinking."""
    asked = admitted.models[0]
    quick = [each for each in admitted.models[1:] if not each.thinks(admitted.effort)]
    return circuits.order((asked, *quick))[0]


async def _forget(reply_log: ReplyLog, request_id: UUID) -> None:
    for log_id in (request_id, thinking_id(request_id)):
        await close(reply_log, log_id)
