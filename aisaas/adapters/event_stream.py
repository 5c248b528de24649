"""Answers in OpenAI's and Anthropic's event streams, read from the wire.

Nearly all events carry a piece of text and nothing else; those are read here. All others (usage,
endings, thinking that is hidden, errors) are given to the parser that LiteLLM has for the provider.
LiteLLM's wrapper around that parser takes 0.4 ms for each event, and one process has thousands of them a
second.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Literal, cast

from aisaas.adapters import litellm_wire
from aisaas.adapters.answer_chunks import AnswerChunks
from aisaas.adapters.litellm_wire import Body, Wire
from aisaas.chat.ports import Chunk
from aisaas.errors import ProviderError

WireProtocol = Literal["openai", "anthropic"]
Event = dict[str, Any]
# LiteLLM's parser of an event, for one answer: it may keep what earlier events said.
Parser = Callable[[Event], Any]

# The end of a path that speaks a protocol: vendors have versions and deployments before it.
PATHS: dict[str, WireProtocol] = {"/chat/completions": "openai", "/messages": "anthropic"}
# LiteLLM's names of those whose text needs no more than the protocol says; a test reads each with both.
VENDORS: dict[WireProtocol, frozenset[str]] = {
    "openai": frozenset(
        {
            *("openai", "azure", "custom_openai", "hosted_vllm", "lm_studio"),
            *("cerebras", "dashscope", "deepinfra", "deepseek", "groq", "mistral", "moonshot"),
            *("nvidia_nim", "openrouter", "together_ai", "xai"),
        }
    ),
    "anthropic": frozenset({"anthropic"}),
}
DATA = b"data:"
DONE = b"[DONE]"
# Fields beside a piece of text that carry no further information.
PLAIN = frozenset({"role", "content", "reasoning_content", "reasoning"})
# Events that only close the answer come with the announcement that nothing more follows.
DONE_SECONDS = 0.2
RUBBISH = "rubbish"
# Errors that parsers raise for events of an unexpected shape.
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def protocol_of(upstream: str, body: Body | None) -> WireProtocol | None:
    """The protocol of an answer that we read ourselves; None leaves it to LiteLLM.

    Args:
        upstream: LiteLLM's name of the model, its vendor first.
        body: the answer as it came, if it came over HTTP.
    """
    if body is None or not body.is_event_stream:
        return None
    vendor = upstream.partition("/")[0]
    for end, protocol in PATHS.items():
        if body.path.endswith(end) and vendor in VENDORS[protocol]:
            return protocol
    return None


def parser_of(upstream: Any) -> Parser:
    """Args: `upstream` is LiteLLM's wrapper of the answer."""
    found = getattr(upstream.completion_stream, "chunk_parser", None)
    if found is not None:
        return found
    # OpenAI's own client is between: it parses, but says only what it knows.
    transformation = importlib.import_module("litellm.llms.openai.chat.gpt_transformation")
    handler: Any = transformation.OpenAIChatCompletionStreamingHandler
    return handler(streaming_response=iter(()), sync_stream=True).chunk_parser


async def read_events(
    body: Body, heard: Wire, protocol: WireProtocol, parse: Parser
) -> AsyncGenerator[Chunk]:
    """The chunks of an answer, to its end, or to a silence after its finish reason.

    Raises whatever `parse` raises for an error that the provider sent, and ProviderError for rubbish.
    """
    answer = AnswerChunks(heard)
    plain = _plain_openai if protocol == "openai" else _plain_anthropic
    finish: str | None = None
    async with aclosing(_events(body, heard, lambda: finish is not None)) as events:
        async for event in events:
            if (piece := plain(event)) is not None:
                thought, text = piece
                if thought:
                    for each in answer.thinking(thought):
                        yield each
                if text:
                    for each in answer.text(text):
                        yield each
                continue
            parsed = _parsed(parse, event)
            choice: Any = parsed.choices[0] if parsed.choices else None
            for each in answer.delta(getattr(choice, "delta", None)):
                yield each
            for each in answer.usage(getattr(parsed, "usage", None)):
                yield each
            if reason := getattr(choice, "finish_reason", None):
                finish = str(reason)
    for each in answer.rest():
        yield each
    for each in answer.finish(finish):
        yield each


async def _events(body: Body, heard: Wire, finished: Callable[[], bool]) -> AsyncGenerator[Event]:
    lines = Lines()
    heard.keep_lines()
    async with aclosing(body), aclosing(body.parts()) as parts:
        while True:
            # A provider that has finished, and neither says more nor closes, is done.
            patience = (
                DONE_SECONDS if lines.done else litellm_wire.FINISH_SECONDS if finished() else None
            )
            if not await _arrived(parts, patience):
                break
            for event in lines.events(heard.take_lines()):
                yield event
    for event in lines.events([heard.take_rest(), b""]):
        yield event


async def _arrived(parts: AsyncGenerator[bytes], patience: float | None) -> bool:
    """Wait for the next part. False at the end, or when `patience` (seconds) is over."""
    try:
        if patience is None:
            await anext(parts)
        else:
            async with asyncio.timeout(patience):
                await anext(parts)
    except (StopAsyncIteration, TimeoutError):
        return False
    return True


class Lines:
    """The data of an event stream's lines; all else in them says nothing that we need."""

    def __init__(self) -> None:
        # OpenAI's protocol says when nothing more follows.
        self.done = False
        self._incomplete = b""

    def events(self, lines: Iterable[bytes]) -> Iterator[Event]:
        """Raises ProviderError for data that is no event."""
        for line in lines:
            if self._incomplete and not line.strip():
                raise ProviderError(RUBBISH)
            if self.done or not line.startswith(DATA):
                continue
            data = line[len(DATA) :].strip()
            if data == DONE:
                self.done = True
                continue
            # The format allows an event to span several lines, although no provider does that.
            self._incomplete += data
            try:
                event: object = json.loads(self._incomplete.decode(errors="replace"))
            except (ValueError, RecursionError):
                self._incomplete += b"\n"
                continue
            self._incomplete = b""
            if not isinstance(event, dict):
                raise ProviderError(RUBBISH)
            yield cast("Event", event)


def _plain_openai(event: Event) -> tuple[str | None, str | None] | None:
    """Thinking and text of an event that says nothing else."""
    choices = event.get("choices")
    if not isinstance(choices, list) or event.get("usage") is not None or "error" in event:
        return None
    if len(cast("list[object]", choices)) != 1 or not isinstance(choices[0], dict):
        return None
    choice = cast("Event", choices[0])
    delta: object = choice.get("delta")
    if choice.get("finish_reason") is not None or not isinstance(delta, dict):
        return None
    fields = cast("Event", delta)
    for name, value in fields.items():
        if value is not None and (name not in PLAIN or not isinstance(value, str)):
            return None
    return fields.get("reasoning_content") or fields.get("reasoning"), fields.get("content")


def _plain_anthropic(event: Event) -> tuple[str | None, str | None] | None:
    """Text of an event that says nothing else. Thinking isn't: the parser counts its tokens."""
    if event.get("type") == "ping":
        return None, None
    delta: object = event.get("delta")
    if event.get("type") != "content_block_delta" or not isinstance(delta, dict):
        return None
    fields = cast("Event", delta)
    text: object = fields.get("text")
    return (None, text) if fields.get("type") == "text_delta" and isinstance(text, str) else None


def _parsed(parse: Parser, event: Event) -> Any:
    """LiteLLM's reading of an event; a usage that can't be read counts as none."""
    try:
        return parse(event)
    except _UNREADABLE:
        return _without_usage(parse, event)


def _without_usage(parse: Parser, event: Event) -> Any:
    try:
        return parse({**event, "usage": None})
    except _UNREADABLE:
        raise ProviderError(RUBBISH) from None
