"""The models on sale, as data: `catalogue.json`, or the file MODEL_CATALOGUE names.

Every enabled model has a price, from LiteLLM's bundled map unless the entry overrides it; a model
without one stops the instance from starting. It offers the models that a configured provider serves,
with the admins' later changes (live_catalogue.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from aisaas.controls.lineup import ListedModel, UnfitModelError
from aisaas.controls.model_overrides import Offer, offers_of
from aisaas.controls.models import AddedModel
from aisaas.errors import ConfigurationError, ModelUnavailable
from aisaas.language_models import NO_REASONING, Ability, Effort, Model, ModelFacts, Reasoning
from aisaas.prices import Price, Tier, weight_of, window_within
from aisaas.providers import KNOWN, ProviderId
from aisaas.settings import Settings
from aisaas.settings.plans import PLANS

BUNDLED = Path(__file__).with_name("catalogue.json")

Usd = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=6)]


class RatesEntry(BaseModel):
    """USD per million tokens. A kind without its own rate costs the rate of its direction."""

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
    # A provider's id: a well-known one, or one from the MODEL_PROVIDERS file.
    provider: ProviderId
    upstream: Annotated[str, Field(min_length=1)]
    # The model's name in LiteLLM's map, where `upstream` is the operator's own name.
    map_name: str | None = None
    # Default: the map's values; a window ends where the model's first more expensive tier begins.
    context_window: Annotated[int, Field(ge=256)] | None = None
    max_output: Annotated[int, Field(ge=1)] | None = None
    # Without one it follows the price (prices.py).
    weight: Annotated[Decimal, Field(gt=0, max_digits=10, decimal_places=4)] | None = None
    plans: Annotated[frozenset[str], Field(min_length=1)]
    fallback: str | None = None
    # In order; FALLBACK_MODELS replaces the fallbacks of all models.
    fallbacks: tuple[str, ...] = ()
    abilities: frozenset[Ability] | None = None
    # Not for new conversations. Old ones go on, and are offered the successor.
    retired: bool = False
    successor: str | None = None
    price: PriceEntry | None = None
    reasoning: ReasoningEntry | None = None
    # Off until an admin turns it on; without a price, not before they give it one.
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Succession:
    """A retired model's name, and the model to continue with; None if none was named, or it is off."""

    label: str
    successor: Model | None


class Catalogue:
    """The models on sale and their fallbacks, as of the admins' change `revision`.

    Args: the lines of the file; `offer` adds those that admins added."""

    def __init__(self, lines: Sequence[ListedModel], *, default: str | None) -> None:
        self._default = default
        self.revision = 0
        self.offer(offers_of(lines, {}).values(), 0)

    def offer(self, offers: Iterable[Offer], revision: int) -> None:
        """Replace the offers with these, all at once."""
        offers = list(offers)
        self._offers = {offer.listed.id: offer for offer in offers}
        known = {offer.listed.id: (offer.on, _model(offer)) for offer in offers}
        self._known = {name: model for name, (_, model) in known.items() if model is not None}
        self._models = {name: model for name, model in self._known.items() if known[name][0]}
        self.revision = revision

    @property
    def lines(self) -> Sequence[ListedModel]:
        """As the file has them, then as admins added them."""
        return tuple(offer.listed for offer in self._offers.values())

    @property
    def labels(self) -> Mapping[str, str]:
        """Of removed models too: conversations and receipts name them."""
        return {line.id: line.label for line in self.lines}

    @property
    def present(self) -> Sequence[ListedModel]:
        """Without what was removed."""
        return [line for line in self.lines if not line.removed]

    @property
    def providers(self) -> Sequence[str]:
        return tuple(dict.fromkeys(line.provider for line in self.present))

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
        """None for a model that isn't sold on this plan: an unknown model has no fallback."""
        model = self._models.get(model_id)
        return model if model is not None and plan in model.plans else None

    def get(self, model_id: str) -> Model | None:
        """The model, on or off; None if it doesn't exist or has no price."""
        return self._known.get(model_id)

    def with_fallbacks(self, model: Model) -> tuple[Model, ...]:
        """The model and its fallbacks, in order, without those that are off or retired."""
        chain = [self._models[name] for name in self._chain(model.id) if name in self._models]
        return (model, *(each for each in chain if not each.retired))

    def succession(self, model_id: str) -> Succession | None:
        """A retired model's successor; None for every other model. A successor that is retired itself
        is replaced by its own."""
        asked = self._offers.get(model_id)
        if asked is None or not asked.retired:
            return None
        name, seen = asked.successor, {model_id}
        while name is not None and name not in seen:
            found = self._offers.get(name)
            if found is None or not found.retired:
                return Succession(asked.listed.label, self._models.get(name))
            seen.add(name)
            name = found.successor
        return Succession(asked.listed.label, None)

    def _chain(self, model_id: str) -> Sequence[str]:
        """Its own fallbacks in their order, then the fallbacks of those; a retired one is followed by
        its successor."""
        chain = [model_id]
        for name in chain:
            if (offer := self._offers.get(name)) is not None:
                first = (offer.successor,) if offer.retired and offer.successor else ()
                chain += [each for each in (*first, *offer.listed.fallbacks) if each not in chain]
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
        retired=offer.retired,
        successor=offer.successor,
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
    known = Known(price_of, reasoning_of, facts_of)
    configured = settings.providers()
    for entry in entries:
        if entry.provider not in configured:
            if entry.provider not in {each.id for each in KNOWN}:
                problems.append(
                    f"MODEL_CATALOGUE: the provider {entry.provider} of {entry.id} isn't known; "
                    "describe it in MODEL_PROVIDERS"
                )
            continue
        if _price(entry, price_of) is None and entry.enabled:
            problems.append(
                f"MODEL_CATALOGUE: no price is known for {entry.id}; give it a price, remove it, or "
                'say "enabled": false'
            )
            continue
        try:
            lines.append(_line(entry, settings, known))
        except UnfitModelError as error:
            problems.append(f"MODEL_CATALOGUE: {entry.id} {error}")
    catalogue = Catalogue(lines, default=settings.default_model)
    nothing = not lines and not problems
    if settings.default_model and catalogue.get(settings.default_model) is None:
        problems.append(f"DEFAULT_MODEL: {settings.default_model} is not an available model")
    if nothing:
        problems.append(_nothing_listed(settings, plan_ids))
    else:
        problems += [
            f"MODEL_CATALOGUE: no available model is sold on the plan {plan}; `python -m aisaas models "
            "discover` lists what your keys can reach"
            for plan in plan_ids
            if not catalogue.for_plan(plan)
        ]
    if problems:
        raise ConfigurationError(tuple(problems))
    return catalogue


@dataclass(frozen=True, slots=True)
class Known:
    """What LiteLLM's map says, by its name of a model."""

    price_of: Callable[[str], Price | None]
    reasoning_of: Callable[[str], Reasoning] = lambda _: NO_REASONING
    facts_of: Callable[[str], ModelFacts] = lambda _: ModelFacts()


def _line(entry: ModelEntry, settings: Settings, known: Known) -> ListedModel:
    """Raises UnfitModelError when the length of its prompts and replies is unknown."""
    price = _price(entry, known.price_of)
    facts = known.facts_of(entry.map_name or entry.upstream)
    window = entry.context_window or window_within(facts.context_window, price)
    longest = entry.max_output or facts.max_output
    if window is None or longest is None:
        raise UnfitModelError(
            "needs a context_window and a max_output, because the map of models doesn't have them"
        )
    return ListedModel(
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
        reasoning=_reasoning(entry, known.reasoning_of),
        map_name=entry.map_name,
        abilities=facts.abilities if entry.abilities is None else entry.abilities,
        fallbacks=_fallbacks(entry, settings),
        retired=entry.retired,
        successor=entry.successor,
        weight_follows_price=entry.weight is None,
    )


def added_line(
    row: AddedModel, settings: Settings, known: Known, plan_ids: Collection[str]
) -> ListedModel:
    """What an admin added, by the rules for lines of the file.

    Raises:
        UnfitModelError: it can't be sold.
    """
    try:
        entry = ModelEntry(
            id=row.model,
            label=row.label,
            provider=row.provider,
            upstream=row.upstream,
            context_window=row.context_window,
            max_output=row.max_output,
            plans=frozenset(row.plans),
            fallback=row.fallback,
        )
    except ValidationError as error:
        raise UnfitModelError(f"its row can't be read ({_first_field(error)})") from error
    provider = settings.provider_access().get(entry.provider)
    if row.removed_at is None:
        if provider is None:
            raise UnfitModelError(f"its provider, {entry.provider}, isn't configured")
        if not entry.upstream.startswith(f"{provider.prefix}/"):
            raise UnfitModelError(f"{entry.upstream} isn't a model of {provider.label}")
        if not entry.plans & set(plan_ids):
            raise UnfitModelError("none of its plans exists")
    return _line(entry, settings, known)


def _nothing_listed(settings: Settings, plan_ids: Sequence[str]) -> str:
    """The error when the configured providers serve no listed model: an operator's own deployments and
    servers have names of their own."""
    access = settings.provider_access()
    provider = access.get("azure") or next(iter(access.values()), None)
    if provider is None:
        return "MODEL_CATALOGUE: no provider is configured; docs/providers.md says how"
    example: dict[str, object] = {
        "id": "chat",
        "label": "Chat",
        "provider": provider.id,
        "upstream": f"{provider.prefix}/YOUR-DEPLOYMENT",
        "map_name": "azure/gpt-5",
        "plans": list(plan_ids),
    }
    explained = (
        "Put the name of your deployment in place of YOUR-DEPLOYMENT, and in map_name the model "
        "behind it, from which price and limits follow"
    )
    if provider.prefix != "azure":
        del example["map_name"]
        example |= {
            "upstream": f"{provider.prefix}/YOUR-MODEL",
            "context_window": 128_000,
            "max_output": 8192,
            "price": {"input_usd": 1, "output_usd": 4},
        }
        explained = (
            "Put the name of your model in place of YOUR-MODEL, and what it costs in USD per 1M tokens "
            "in price"
        )
    return (
        f"MODEL_CATALOGUE: the catalog lists no model of {provider.label}. Write a JSON file like this "
        f"and set MODEL_CATALOGUE to its path: {json.dumps([example])} {explained}. `python -m aisaas "
        "models discover` lists what your keys can reach"
    )


def _price(entry: ModelEntry, price_of: Callable[[str], Price | None]) -> Price | None:
    if entry.price is None:
        return price_of(entry.map_name or entry.upstream)
    own = entry.price
    ascending = sorted(own.tiers, key=lambda tier: tier.above)
    return own.price(
        own.version, tuple(Tier(tier.above, tier.price(own.version).base) for tier in ascending)
    )


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
    """Models on the operator's own machine: they cost only electricity, so 0 here."""
    return [
        ModelEntry(
            id=f"ollama/{name}",
            label=f"{name} (Ollama)",
            provider="ollama",
            upstream=f"ollama_chat/{name}",
            context_window=8192,
            max_output=4096,
            weight=Decimal(1),
            plans=frozenset(plan.id for plan in PLANS),
            price=PriceEntry(input_usd=Decimal(0), output_usd=Decimal(0), version="own-machine"),
        )
        for name in settings.ollama_models
        if settings.ollama_api_base
    ]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _first_field(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"])
