"""Language models as values: the facts about one, and what a call used."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from aisaas.prices import Price

# How much a model should think before it answers.
Effort = Literal["none", "low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How a model thinks before it answers: the efforts that it takes, least first, and whether it
    thinks when no effort is named."""

    efforts: tuple[Effort, ...] = ()
    by_default: bool = False


NO_REASONING = Reasoning()
Ability = Literal["thinking", "vision", "files", "tools"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's facts in LiteLLM's map besides its price; None where it has none."""

    context_window: int | None = None
    max_output: int | None = None
    abilities: frozenset[Ability] = frozenset()


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue, priced. Tokens are the unit of every size."""

    id: str
    label: str
    provider: str
    upstream: str
    context_window: int
    max_output: int
    weight: Decimal
    plans: frozenset[str]
    fallback: str | None
    price: Price
    reasoning: Reasoning = NO_REASONING
    # The model of LiteLLM's map that it is, where its name doesn't say so.
    map_name: str | None = None
    abilities: frozenset[Ability] = frozenset()
    # Not for new conversations; old ones are offered this one.
    retired: bool = False
    successor: str | None = None

    @property
    def known_as(self) -> str:
        return self.map_name or self.upstream

    def thinks(self, effort: Effort | None) -> bool:
        """Whether it may think before its first word; an effort that it doesn't take is none named."""
        if effort in self.reasoning.efforts:
            return effort != "none"
        return self.reasoning.by_default


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the provider reported them. `cached_prompt_tokens` and `cache_write_tokens` are
    part of the prompt's, `thinking_tokens` are part of the completion's."""

    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int = 0
    thinking_tokens: int = 0
    # Includes those that are kept for an hour.
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    # The region that answered, by the provider's account; empty if it doesn't say.
    region: str = ""
