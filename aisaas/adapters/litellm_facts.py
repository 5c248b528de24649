"""What LiteLLM's map says about a model besides its price: context window, longest reply, abilities."""

from __future__ import annotations

from typing import Any

from aisaas.adapters.litellm_prices import entry_of
from aisaas.language_models import Ability, ModelFacts

_ABILITIES: dict[Ability, str] = {
    "thinking": "supports_reasoning",
    "vision": "supports_vision",
    "files": "supports_pdf_input",
    "tools": "supports_function_calling",
}


def facts_of(upstream: str) -> ModelFacts:
    entry = entry_of(upstream)
    return ModelFacts(
        context_window=_tokens(entry.get("max_input_tokens")),
        max_output=_tokens(entry.get("max_output_tokens")),
        abilities=frozenset(
            ability for ability, key in _ABILITIES.items() if entry.get(key) is True
        ),
    )


def _tokens(value: Any) -> int | None:
    # For a few models the map has text here.
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
