"""A conversation's title: one single call through the same door as everything else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing
from uuid import UUID, uuid4

from aisaas.accounts.models import Principal
from aisaas.chat import store
from aisaas.chat.guards import Call, Door, admit
from aisaas.chat.prompt import MESSAGE_OVERHEAD
from aisaas.chat.settle import Produced, ProviderFailure, Settler
from aisaas.chat.title_text import READ_CHARS, first_words, title_of
from aisaas.errors import ProviderError, Refusal
from aisaas.observe.metrics import PROVIDER_ERRORS
from aisaas.observe.tracing import span
from aisaas.ports import Admitted, Finish, LanguageModel, Text, Thinking, Turn, Usage

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


async def make_title(
    door: Door,
    settler: Settler,
    model: LanguageModel,
    keep_lease: KeepLease,
    principal: Principal,
    conversation_id: UUID,
    question: str,
) -> str | None:
    """Name a conversation; the new title, or None when it has one by now.

    A refused or failed call costs nobody a title, and neither does an answer in which nothing can be
    seen: it then is the question's first words.
    """
    with span("title"):
        answer = await _ask_model(
            door, settler, model, keep_lease, principal, conversation_id, question
        )
    title = title_of(answer) or first_words(question) or UNTITLED
    async with door.user.as_user(principal.user_id) as session:
        changed = await store.set_title(session, conversation_id, title, instead_of=UNTITLED)
    return title if changed else None


async def _ask_model(
    door: Door,
    settler: Settler,
    model: LanguageModel,
    keep_lease: KeepLease,
    principal: Principal,
    conversation_id: UUID,
    question: str,
) -> str:
    excerpt = question[:QUESTION_CHARS]
    turns = (
        Turn("system", INSTRUCTION, door.count_tokens(INSTRUCTION) + MESSAGE_OVERHEAD),
        Turn("user", excerpt, door.count_tokens(excerpt) + MESSAGE_OVERHEAD),
    )
    try:
        cheapest = door.catalogue.default_for(door.quota.plan_of(principal).id)
        call = Call(
            principal=principal,
            purpose="title",
            text=excerpt,
            model_id=cheapest.id,
            conversation_id=None,
            max_tokens=TITLE_TOKENS,
            turns=turns,
            request_id=uuid4(),
        )
        _, admitted = await admit(door, call)
    except Refusal as refusal:
        log.info("no title by the model: %s", refusal.code)
        return ""
    with keep_lease(admitted.request_id):
        produced = await _complete(model, admitted)
        await settler.settle(admitted, produced, conversation_id=conversation_id, message_id=None)
    return produced.text


async def _complete(model: LanguageModel, admitted: Admitted) -> Produced:
    text, usage, finished = "", None, False
    error: str | None = None
    answering = admitted.models[0]
    try:
        async with (
            asyncio.timeout(TITLE_SECONDS),
            aclosing(model.stream(admitted, answering)) as chunks,
        ):
            async for chunk in chunks:
                match chunk:
                    case Text():
                        text += chunk.text
                    case Usage():
                        usage = chunk
                    case Finish():
                        finished = True
                    case Thinking():
                        pass
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
        outcome="done" if finished else ("interrupted" if text else "failed"),
        text=text,
        answered=answering,
        usage=usage,
        complete=finished,
        started=True,
        error_code=error,
        failures=(ProviderFailure(answering, error),) if error else (),
    )
