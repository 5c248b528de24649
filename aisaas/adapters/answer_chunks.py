"""What LiteLLM's parsers say of an answer, as the chunks of `chat.ports`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from aisaas.adapters.litellm_wire import Wire
from aisaas.chat.ports import Chunk, Finish, Text, Thinking
from aisaas.language_models import Usage
from aisaas.text_cleaning import StreamCleaner

# No model has a window this large.
MAX_TOKENS = 10_000_000
# A provider's name of a region; anything else is ignored.
REGION = re.compile(r"[a-z0-9_-]{1,40}")


class AnswerChunks:
    """Of one answer: its texts cleaned, and each usage once."""

    def __init__(self, heard: Wire) -> None:
        self._heard = heard
        self._text = StreamCleaner()
        self._thinking = StreamCleaner()
        self._reported: Usage | None = None

    def text(self, piece: str) -> Iterator[Chunk]:
        if cleaned := self._text.feed(piece):
            yield Text(cleaned)

    def thinking(self, piece: str) -> Iterator[Chunk]:
        if cleaned := self._thinking.feed(piece):
            yield Thinking(cleaned)

    def delta(self, delta: Any) -> Iterator[Chunk]:
        """Args: `delta` is LiteLLM's, or None."""
        thought = getattr(delta, "reasoning_content", None)
        if isinstance(thought, str) and thought:
            yield from self.thinking(thought)
        elif getattr(delta, "thinking_blocks", None):
            # Redacted thinking, or a signature.
            yield Thinking("")
        content = getattr(delta, "content", None)
        if isinstance(content, str):
            yield from self.text(content)

    def usage(self, found: Any) -> Iterator[Chunk]:
        """Args: `found` is LiteLLM's usage, or None."""
        if found is not None and (usage := _usage_of(found)) != self._reported:
            self._reported = usage
            yield usage

    def rest(self) -> Iterator[Chunk]:
        """Text that was held back, and what a provider says when it refuses."""
        if piece := self._thinking.end():
            yield Thinking(piece)
        if piece := self._text.feed(self._heard.refusal()) + self._text.end():
            yield Text(piece)

    def finish(self, reason: str | None) -> Iterator[Chunk]:
        """Args: `reason` as LiteLLM words it; None when the provider sent none."""
        if reason is not None:
            yield Finish("refusal" if self._heard.refused else reason)


def _usage_of(found: Any) -> Usage:
    prompt = getattr(found, "prompt_tokens_details", None)
    completion = getattr(found, "completion_tokens_details", None)
    counts = (
        found.prompt_tokens or 0,
        found.completion_tokens or 0,
        getattr(prompt, "cached_tokens", 0) or 0,
        getattr(completion, "reasoning_tokens", 0) or 0,
    )
    # Nonsense counts as no report: settling uses our own count instead.
    counts = [min(n, MAX_TOKENS) if isinstance(n, int) and n > 0 else 0 for n in counts]
    cached = min(counts[2], counts[0])
    write, write_1h = _cache_writes(prompt, counts[0] - cached)
    region = getattr(found, "inference_geo", None)
    return Usage(
        prompt_tokens=counts[0],
        completion_tokens=counts[1],
        cached_prompt_tokens=cached,
        thinking_tokens=min(counts[3], counts[1]),
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        region=region if isinstance(region, str) and REGION.fullmatch(region) else "",
    )


def _cache_writes(details: Any, most: int) -> tuple[int, int]:
    """Prompt tokens written to a cache, and those among them that are kept for an hour."""
    write = getattr(details, "cache_write_tokens", 0) or getattr(
        details, "cache_creation_tokens", 0
    )
    kept = getattr(details, "cache_creation_token_details", None)
    hour = getattr(kept, "ephemeral_1h_input_tokens", 0)
    write = min(write, most) if isinstance(write, int) and write > 0 else 0
    return write, min(hour, write) if isinstance(hour, int) and hour > 0 else 0
