"""The request to LiteLLM: where to, with which key, and with the parameters each model needs.

LiteLLM translates by a model's name. It can't know which model is behind an operator's own name (an
Azure deployment, a gateway), so the catalogue names the model of the map, and the parameters follow
from that here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from aisaas.adapters.litellm_prices import entry_of
from aisaas.chat.ports import Turn
from aisaas.language_models import Model
from aisaas.providers import ModelProvider

CONNECT_AND_READ_SECONDS = 600.0
# OpenAI's own protocol: OpenAI, Azure, and servers that offer OpenAI's models with it.
OPENAI = frozenset({"openai", "azure"})
SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")


def request(
    prompt: Sequence[Turn], model: Model, provider: ModelProvider, *, max_tokens: int
) -> dict[str, object]:
    """The arguments of `litellm.acompletion`."""
    entry = entry_of(model.known_as)
    access = provider.access()
    if not _samples(entry):
        for name in SAMPLING:
            access.pop(name, None)
    return {
        **access,
        "model": model.upstream,
        "messages": _messages(prompt, entry),
        _limit_name(model.upstream, entry): max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        # Drop parameters a provider doesn't know instead of failing.
        "drop_params": True,
        "timeout": CONNECT_AND_READ_SECONDS,
        # Retries would bypass the guards; falling back is the reply's decision.
        "max_retries": 0,
        "num_retries": 0,
    }


def _limit_name(upstream: str, entry: Mapping[str, Any]) -> str:
    """OpenAI's thinking models refuse `max_tokens`; a compatible server may know only that."""
    thinks = bool(entry.get("supports_reasoning"))
    ours = entry.get("litellm_provider") in OPENAI and upstream.partition("/")[0] in OPENAI
    return "max_completion_tokens" if thinks and ours else "max_tokens"


def _samples(entry: Mapping[str, Any]) -> bool:
    if "supports_sampling_params" in entry:
        return bool(entry["supports_sampling_params"])
    return not (entry.get("supports_reasoning") and entry.get("litellm_provider") in OPENAI)


def _messages(prompt: Sequence[Turn], entry: Mapping[str, Any]) -> list[dict[str, str]]:
    messages = [{"role": turn.speaker, "content": turn.text} for turn in prompt]
    if entry.get("supports_system_messages") is not False:
        return messages
    # Put its instructions at the start of the first question instead.
    system = "\n\n".join(each["content"] for each in messages if each["role"] == "system")
    rest = [each for each in messages if each["role"] != "system"]
    if system and rest:
        rest[0] = {"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}
    return rest or [{"role": "user", "content": system}]


def send_messages_as_they_are() -> None:
    """OpenAI's client compares each message with every type that it knows, to rename fields and to encode
    files: a quarter of a millisecond per message, on the event loop. Ours have two fields, and neither
    is renamed or encoded."""
    completions: Any = importlib.import_module("openai.resources.chat.completions.completions")
    transform = completions.async_maybe_transform

    async def all_but_messages(body: dict[str, Any], expected: object) -> Any:
        rest = {name: value for name, value in body.items() if name != "messages"}
        transformed = await transform(rest, expected)
        return transformed | {"messages": body["messages"]} if "messages" in body else transformed

    if not getattr(transform, "leaves_messages", False):
        all_but_messages.leaves_messages = True  # pyright: ignore[reportFunctionMemberAccess]
        completions.async_maybe_transform = all_but_messages
