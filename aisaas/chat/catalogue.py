"""The models on sale, as data: `catalogue.json`, or the file MODEL_CATALOGUE names.

Every model that is on has a price, from LiteLLM's bundled map unless the entry overrides it; one
without is refused when the instance starts. What is on offer is what a configured provider serves,
with what admins changed since (live_catalogue.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from aisaas.admin.offers import ListedModel, Offer, offers_of
from aisaas.errors import ConfigurationError, ModelUnavailable
from aisaas.ports import NO_REASONING, Ability, Effort, Model, ModelFacts, Reasoning
from aisaas.prices import Price, Tier, weight_of
from aisaas.providers import KNOWN, ProviderId
from aisaas.settings import Settings

BUNDLED = Path(__file__).with_name("catalogue.json")

Usd = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=6)]


class RatesEntry(BaseModel):
    """USD per million tokens. What isn't named costs what others of its direction do."""

    model_config = ConfigDict(extra="forbid")

    input_usd: Usd
    output_usd: Usd
    cached_input_usd: Usd | None = None
    cache_write_usd: Usd | None = None
    cache_write_1h_usd: Usd | None = None
    thinking_usd: Usd | None = None

    def price(self, version: str, tiers: tuple[Tier, ...] = ()) -> Price:
        cached = self.input_usd if self.cached_input_usd is None else self.cached_input_usd
        return Price(
            self.input_usd,
            self.output_usd,
            cached,
            version,
            cache_write_usd=self.cache_write_usd,
            cache_write_1h_usd=self.cache_write_1h_usd,
            thinking_usd=self.thinking_usd,
            tiers=tiers,
        )


class TierEntry(RatesEntry):
    """The rates of a call whose prompt has more than `above` tokens."""

    above: Annotated[int, Field(ge=1)]


class PriceEntry(RatesEntry):
    version: Annotated[str, Field(min_length=1, max_length=100)] = "override"
    tiers: tuple[TierEntry, ...] = ()


class ReasoningEntry(BaseModel):
    """How the model thinks, where LiteLLM's map doesn't know it or is wrong."""

    model_config = ConfigDict(extra="forbid")

    efforts: tuple[Effort, ...] = ()
    by_default: bool = False


class ModelEntry(BaseModel):
    """A line of the catalogue file."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S+$")]
    label: Annotated[str, Field(min_length=1, max_length=80)]
    # The id of a provider: a well-known one, or one of the file MODEL_PROVIDERS.
    provider: ProviderId
    upstream: Annotated[str, Field(min_length=1)]
    # Which model of LiteLLM's map it is, where `upstream` is a name of the operator's own.
    map_name: str | None = None
    # Without these the map says it; a window ends where the model's first dearer tier begins.
    context_window: Annotated[int, Field(ge=256)] | None = None
    max_output: Annotated[int, Field(ge=1)] | None = None
    # Without one it follows the price (prices.py).
    weight: Annotated[Decimal, Field(gt=0, max_digits=10, decimal_places=4)] | None = None
    plans: Annotated[frozenset[str], Field(min_length=1)]
    fallback: str | None = None
    # Several, in order; FALLBACK_MODELS replaces those of all models.
    fallbacks: tuple[str, ...] = ()
    abilities: frozenset[Ability] | None = None
    # Not for new conversations. Old ones go on, and are offered the successor.
    retired: bool = False
    successor: str | None = None
    price: PriceEntry | None = None
    reasoning: ReasoningEntry | None = None
    # Off until an admin turns it on; without a price, not before they give it one.
    enabled: bool = True


class Catalogue:
    """What can be asked for, and what stands in for it, as of the admins' change `revision`."""

    def __init__(self, lines: Sequence[ListedModel], *, default: str | None) -> None:
        self._lines = {line.id: line for line in lines}
        self._default = default
        self.revision = 0
        self.offer(offers_of(lines, {}).values(), 0)

    def offer(self, offers: Iterable[Offer], revision: int) -> None:
        """From now on these, all of them at once."""
        known = {offer.listed.id: (offer.on, _model(offer)) for offer in offers}
        self._known = {name: model for name, (_, model) in known.items() if model is not None}
        self._models = {name: model for name, model in self._known.items() if known[name][0]}
        self.revision = revision

    @property
    def lines(self) -> Sequence[ListedModel]:
        """As the file has them."""
        return tuple(self._lines.values())

    @property
    def labels(self) -> Mapping[str, str]:
        return {line.id: line.label for line in self._lines.values()}

    @property
    def providers(self) -> Sequence[str]:
        return tuple(dict.fromkeys(line.provider for line in self._lines.values()))

    def for_plan(self, plan: str) -> Sequence[Model]:
        """What a new conversation can start with, in the catalogue's order."""
        on_sale = (model for model in self._models.values() if not model.retired)
        return [model for model in on_sale if plan in model.plans]

    def default_for(self, plan: str) -> Model:
        """Raises ModelUnavailable when nothing is on sale on it."""
        offered = self.for_plan(plan)
        if not offered:
            raise ModelUnavailable
        return next((model for model in offered if model.id == self._default), offered[0])

    def find(self, model_id: str, plan: str) -> Model | None:
        """None for what isn't sold on this plan: nothing else stands in for an unknown model."""
        model = self._models.get(model_id)
        return model if model is not None and plan in model.plans else None

    def get(self, model_id: str) -> Model | None:
        """Whether or not it is on; None for what isn't there or has no price."""
        return self._known.get(model_id)

    def with_fallbacks(self, model: Model) -> tuple[Model, ...]:
        """The model and what may answer in its place, in order; what is off is passed over."""
        chain = self._chain(model.id)
        return (model, *(self._models[name] for name in chain if name in self._models))

    def successor_of(self, model_id: str, plan: str) -> Model | None:
        """What a conversation is offered whose model is retired or gone; None where it is neither."""
        line, model = self._lines.get(model_id), self._models.get(model_id)
        if model is not None and not model.retired and plan in model.plans:
            return None
        wanted = line.successor if line is not None else None
        offered = {each.id: each for each in self.for_plan(plan)}
        if wanted in offered:
            return offered[wanted]
        return self.default_for(plan) if offered else None

    def _chain(self, model_id: str) -> Sequence[str]:
        """Its own fallbacks in their order, then the fallbacks of those, as listed in the file."""
        chain = [model_id]
        for name in chain:
            if (line := self._lines.get(name)) is not None:
                # One day the provider of a retired model doesn't serve it any more.
                first = (line.successor,) if line.retired and line.successor else ()
                chain += [each for each in (*first, *line.fallbacks) if each not in chain]
        return chain[1:]


def _model(offer: Offer) -> Model | None:
    line = offer.listed
    if offer.price is None:
        return None
    return Model(
        id=line.id,
        label=line.label,
        provider=line.provider,
        upstream=line.upstream,
        context_window=line.context_window,
        max_output=line.max_output,
        weight=offer.weight,
        plans=offer.plans,
        fallback=line.fallback,
        price=offer.price,
        reasoning=line.reasoning,
        map_name=line.map_name,
        abilities=line.abilities,
        retired=line.retired,
        successor=line.successor,
    )


def load_catalogue(
    settings: Settings,
    price_of: Callable[[str], Price | None],
    plan_ids: Sequence[str],
    reasoning_of: Callable[[str], Reasoning] = lambda _: NO_REASONING,
    facts_of: Callable[[str], ModelFacts] = lambda _: ModelFacts(),
) -> Catalogue:
    """Read the file, price it, keep what the configured providers serve.

    Raises:
        ConfigurationError: unreadable, malformed, unpriced, or nothing left for some plan.
    """
    path = settings.model_catalogue or BUNDLED
    try:
        entries = TypeAdapter(list[ModelEntry]).validate_python(
            json.loads(path.read_text(encoding="utf-8"))
        )
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigurationError(
            (f"MODEL_CATALOGUE: {path.name} can't be used: {_first_line(error)}",)
        ) from error
    entries += _ollama_entries(settings)

    problems: list[str] = []
    lines: list[ListedModel] = []
    configured = settings.providers()
    for entry in entries:
        if entry.provider not in configured:
            if entry.provider not in {known.id for known in KNOWN}:
                problems.append(
                    f"MODEL_CATALOGUE: the provider {entry.provider} of {entry.id} isn't known; "
                    "describe it in MODEL_PROVIDERS"
                )
            continue
        price = _price(entry, price_of)
        if price is None and entry.enabled:
            problems.append(
                f"MODEL_CATALOGUE: no price is known for {entry.id}; give it a price, remove it, or "
                'say "enabled": false'
            )
            continue
        known = facts_of(entry.map_name or entry.upstream)
        window = entry.context_window or _window(known, price)
        longest = entry.max_output or known.max_output
        if window is None or longest is None:
            problems.append(
                f"MODEL_CATALOGUE: {entry.id} needs a context_window and a max_output, because the "
                "map of models doesn't have them"
            )
            continue
        lines.append(
            ListedModel(
                id=entry.id,
                label=entry.label,
                provider=entry.provider,
                upstream=entry.upstream,
                context_window=window,
                max_output=longest,
                weight=entry.weight or (weight_of(price) if price is not None else Decimal(1)),
                plans=entry.plans,
                fallback=entry.fallback,
                price=price,
                enabled=entry.enabled,
                reasoning=_reasoning(entry, reasoning_of),
                map_name=entry.map_name,
                abilities=known.abilities if entry.abilities is None else entry.abilities,
                fallbacks=_fallbacks(entry, settings),
                retired=entry.retired,
                successor=entry.successor,
                weight_follows_price=entry.weight is None,
            )
        )
    catalogue = Catalogue(lines, default=settings.default_model)
    if settings.default_model and catalogue.get(settings.default_model) is None:
        problems.append(f"DEFAULT_MODEL: {settings.default_model} is not an available model")
    problems += [
        f"MODEL_CATALOGUE: no available model is sold on the plan {plan}; `python -m aisaas models "
        "discover` lists what your keys can reach"
        for plan in plan_ids
        if not catalogue.for_plan(plan)
    ]
    if problems:
        raise ConfigurationError(tuple(problems))
    return catalogue


def _price(entry: ModelEntry, price_of: Callable[[str], Price | None]) -> Price | None:
    if entry.price is None:
        return price_of(entry.map_name or entry.upstream)
    own = entry.price
    ascending = sorted(own.tiers, key=lambda tier: tier.above)
    return own.price(
        own.version, tuple(Tier(tier.above, tier.price(own.version).base) for tier in ascending)
    )


def _window(known: ModelFacts, price: Price | None) -> int | None:
    """Beyond its first tier a token costs more than the model's weight pays for."""
    if known.context_window is None:
        return None
    tiers = price.tiers if price is not None else ()
    return min((known.context_window, *(tier.above for tier in tiers)))


def _fallbacks(entry: ModelEntry, settings: Settings) -> tuple[str, ...]:
    """In the operator's order, if there is one."""
    if settings.fallback_models:
        return tuple(name for name in settings.fallback_models if name != entry.id)
    return entry.fallbacks or ((entry.fallback,) if entry.fallback else ())


def _reasoning(entry: ModelEntry, reasoning_of: Callable[[str], Reasoning]) -> Reasoning:
    own = entry.reasoning
    return (
        reasoning_of(entry.map_name or entry.upstream)
        if own is None
        else Reasoning(own.efforts, own.by_default)
    )


def _ollama_entries(settings: Settings) -> list[ModelEntry]:
    """Models on the operator's own machine: what they cost is their electricity, so 0 here."""
    return [
        ModelEntry(
            id=f"ollama/{name}",
            label=f"{name} (Ollama)",
            provider="ollama",
            upstream=f"ollama_chat/{name}",
            context_window=8192,
            max_output=4096,
            weight=Decimal(1),
            plans=frozenset({"free", "pro", "business"}),
            price=PriceEntry(input_usd=Decimal(0), output_usd=Decimal(0), version="own-machine"),
        )
        for name in settings.ollama_models
        if settings.ollama_api_base
    ]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
