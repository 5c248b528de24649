"""A conversation's title: one single call through the same door as everything else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

from aisaas.accounts.models import Principal
from aisaas.billing.quota import cost_usd
from aisaas.chat import store
from aisaas.chat.grant import Grant
from aisaas.chat.guards import Call, Door, admit, thinking_tokens
from aisaas.chat.prompt import MESSAGE_OVERHEAD, count
from aisaas.chat.settle import Produced, ProviderFailure, Settler
from aisaas.chat.title_text import READ_CHARS, first_words, title_of
from aisaas.errors import DependencyError, ModelUnavailable, ProviderError, Refusal
from aisaas.observe.metrics import PROVIDER_ERRORS
from aisaas.observe.tracing import span
from aisaas.ports import (
    Admitted,
    Effort,
    Finish,
    LanguageModel,
    LogEntry,
    Model,
    ReplyLog,
    Text,
    Thinking,
    Turn,
    Usage,
)

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

    door: Door
    settler: Settler
    model: LanguageModel
    log: ReplyLog
    keep_lease: KeepLease


async def make_title(
    parts: TitleParts, principal: Principal, conversation_id: UUID, question: str
) -> str | None:
    """Name a conversation; the new title, or None when it has one by now.

    A refused or failed call costs nobody a title, and neither does an answer in which nothing can be
    seen: it then is the question's first words.
    """
    with span("title"):
        answer = await _ask_model(parts, principal, conversation_id, question)
    title = title_of(answer) or first_words(question) or UNTITLED
    async with parts.door.user.as_user(principal.user_id) as session:
        changed = await store.set_title(session, conversation_id, title, instead_of=UNTITLED)
    return title if changed else None


async def _ask_model(
    parts: TitleParts, principal: Principal, conversation_id: UUID, question: str
) -> str:
    door = parts.door
    excerpt = question[:QUESTION_CHARS]
    turns = (
        Turn("system", INSTRUCTION, door.count_tokens(INSTRUCTION) + MESSAGE_OVERHEAD),
        Turn("user", excerpt, door.count_tokens(excerpt) + MESSAGE_OVERHEAD),
    )
    try:
        model = _cheapest(door, principal, turns)
        call = Call(
            principal=principal,
            purpose="title",
            text=excerpt,
            model_id=model.id,
            effort=_least_effort(model),
            conversation_id=None,
            max_tokens=TITLE_TOKENS,
            turns=turns,
            request_id=uuid4(),
        )
        _, admitted = await admit(door, call)
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


def _cheapest(door: Door, principal: Principal, turns: Sequence[Turn]) -> Model:
    """The model of the plan to which such a call costs us least, then its owner.

    Raises ModelUnavailable when none is on sale.
    """
    plan = door.quota.plan_of(principal).id
    offered = door.catalogue.for_plan(plan)
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


async def _complete(parts: TitleParts, admitted: Admitted) -> Produced:
    text, thinking, beyond, usage, finished = "", "", "", None, False
    error: str | None = None
    answering = admitted.models[0]
    grant = Grant(admitted.max_tokens, parts.model.count_tokens)
    try:
        async with (
            asyncio.timeout(TITLE_SECONDS),
            aclosing(parts.model.stream(admitted, answering)) as chunks,
        ):
            async for chunk in chunks:
                match chunk:
                    case Text():
                        fits = grant.take(chunk.text)
                        text += fits
                        beyond += chunk.text[len(fits) :]
                    case Usage():
                        usage = chunk
                    case Finish():
                        finished = True
                    case Thinking():
                        fits = grant.take(chunk.text)
                        thinking += fits
                        beyond += chunk.text[len(fits) :]
                if not isinstance(chunk, Finish):
                    await _note(parts.log, admitted, text, usage)
                if grant.spent:
                    # It doesn't heed its limit: what came is the answer.
                    break
                if len(text) > READ_CHARS:
                    raise ProviderError("overrun")
    except ProviderError as caught:
        error = caught.kind
    except TimeoutError:
        error = "timeout"
    except Exception:
        log.exception("model adapter failed")
        error = "adapter"
    if error is not None:
        PROVIDER_ERRORS.labels(answering.provider, error).inc()
    return Produced(
        outcome="done" if finished or grant.spent else ("interrupted" if text else "failed"),
        text=text,
        answered=answering,
        usage=usage,
        complete=finished and not grant.spent,
        started=True,
        error_code=error,
        failures=(ProviderFailure(answering, error),) if error else (),
        beyond=beyond,
        thinking=thinking,
        thinks=answering.thinks(admitted.effort),
    )


async def _note(reply_log: ReplyLog, admitted: Admitted, text: str, usage: Usage | None) -> None:
    """Keep what came so far where the recovery finds it, should this process die."""
    try:
        await reply_log.note(admitted.request_id, model=admitted.models[0].id, usage=usage)
        if text:
            await reply_log.append(admitted.request_id, [LogEntry(0, text)])
    except DependencyError:
        log.warning("title %s goes on without its log", admitted.request_id)


async def _forget(reply_log: ReplyLog, request_id: UUID) -> None:
    try:
        await reply_log.close(request_id)
    except DependencyError:
        log.warning("log of title %s left to expire", request_id)
