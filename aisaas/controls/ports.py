"""What providers say about the models that they have."""

from __future__ import annotations

from dataclasses import dataclass

from aisaas.language_models import Ability
from aisaas.prices import Price


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that a provider lists for our key; unknown values are None."""

    provider: str
    upstream: str
    price: Price | None
    context_window: int | None
    max_output: int | None
    abilities: frozenset[Ability]


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a provider lists, or a sentence's end about why it can't be had."""

    provider: str
    label: str
    models: tuple[FoundModel, ...]
    problem: str | None
