"""How models think, by LiteLLM's map, and which `reasoning_effort` a request may carry.

The map says whether a model thinks, and for some which efforts it supports; the rest follows from the
provider, as LiteLLM translates it. An effort not known to work isn't offered: the call would fail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aisaas.language_models import Effort, Reasoning

# OpenAI's thinking models without effort support are chat models and computer use.
_TAKES_EFFORT = re.compile(r"(?:o\d|gpt-\d)(?!.*\bchat\b)")
LEVELS: tuple[Effort, ...] = ("low", "medium", "high")
# The thinking budgets LiteLLM sends to Claude; the API requires less than `max_tokens`.
CLAUDE_BUDGETS: Mapping[Effort, int] = {"none": 0, "low": 1024, "medium": 2048, "high": 4096}
# Providers where LiteLLM passes an effort to every model that thinks; a test checks this list against
# it. Whether a model accepts `none` is known only from the map.
PASSED_ON = frozenset(
    {
        *("cerebras", "dashscope", "deepinfra", "fireworks_ai", "groq", "libertai", "meta"),
        *("mistral", "moonshot", "perplexity", "pinstripes", "prism", "publicai"),
        *("qwen_ai_platform", "qwencloud", "sail", "scaleway", "tencent", "tensormesh"),
        *("together_ai", "wandb", "xai", "xiaomi_mimo"),
    }
)
# Their thinking is only on or off, and LiteLLM maps any effort to that.
ON_OR_OFF = frozenset({"deepseek"})


def reasoning_of(upstream: str, entry: Mapping[str, Any]) -> Reasoning:
    """Args: `entry` is the map's."""
    if not entry.get("supports_reasoning") or entry.get("mode", "chat") != "chat":
        return Reasoning()
    always = bool(entry.get("thinking_always_on"))
    match vendor := _vendor(upstream, entry):
        case "openai" | "azure" if _TAKES_EFFORT.match(upstream.rpartition("/")[2]):
            off = entry.get("supports_none_reasoning_effort") is True
            return Reasoning(
                ("none", *LEVELS) if off else LEVELS,
                by_default=entry.get("default_reasoning_effort") != "none",
            )
        case "anthropic":
            return Reasoning(LEVELS if always else ("none", *LEVELS), by_default=always)
        case "gemini":
            return Reasoning(LEVELS, by_default=True)
        case _ if vendor in ON_OR_OFF:
            return Reasoning(("none", "high"), by_default=True)
        case _ if vendor in PASSED_ON and "magistral" not in upstream:
            return Reasoning(_listed(entry) or LEVELS, by_default=True)
        case _:
            return Reasoning(by_default=True)


def _listed(entry: Mapping[str, Any]) -> tuple[Effort, ...]:
    """Our efforts that the map names, if any."""
    levels = entry.get("reasoning_effort_levels")
    every: tuple[Effort, ...] = ("none", *LEVELS)
    return tuple(effort for effort in every if isinstance(levels, list) and effort in levels)


def effort_for(
    upstream: str, entry: Mapping[str, Any], effort: Effort, max_tokens: int
) -> Effort | None:
    """The effort to request so that it fits the grant; None to send none."""
    has_budget = _vendor(upstream, entry) == "anthropic" and not entry.get(
        "supports_adaptive_thinking"
    )
    if not has_budget:
        return effort
    efforts: tuple[Effort, ...] = ("none", *LEVELS)
    wanted = efforts[: efforts.index(effort) + 1]
    return next((each for each in reversed(wanted) if CLAUDE_BUDGETS[each] < max_tokens), None)


def _vendor(upstream: str, entry: Mapping[str, Any]) -> str:
    prefix = upstream.partition("/")[0] if "/" in upstream else ""
    return prefix or str(entry.get("litellm_provider", ""))
