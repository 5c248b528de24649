"""An answer through LiteLLM's stream wrapper, for every protocol that we don't read ourselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from aisaas.adapters.answer_chunks import AnswerChunks
from aisaas.adapters.litellm_wire import Reading, Wire
from aisaas.chat.ports import Chunk


async def read(upstream: Any, heard: Wire) -> AsyncGenerator[Chunk]:
    """Args: `upstream` is LiteLLM's wrapper."""
    answer = AnswerChunks(heard)
    reading = Reading(heard, lambda: _finish_reason(upstream) is not None)
    async with aclosing(upstream):
        try:
            while (chunk := await reading.next(anext(upstream))) is not None:
                for each in answer.delta(chunk.choices[0].delta if chunk.choices else None):
                    yield each
                for each in answer.usage(_provider_usage(upstream)):
                    yield each
        finally:
            reading.close()
    for each in answer.rest():
        yield each
    for each in answer.usage(_provider_usage(upstream)):
        yield each
    for each in answer.finish(_finish_reason(upstream)):
        yield each


def _finish_reason(upstream: Any) -> str | None:
    """What the provider sent, as LiteLLM words it."""
    found = upstream.received_finish_reason or upstream.intermittent_finish_reason
    return str(found) if found else None


def _provider_usage(upstream: Any) -> Any:
    """Usage of the newest chunk that carries the provider's own."""
    # The list holds what came from the provider; the closing chunk LiteLLM makes is not in it.
    for chunk in reversed(cast("list[Any]", upstream.chunks[-2:])):
        if (found := getattr(chunk, "usage", None)) is not None:
            return found
    return None
