"""Prices from the map inside the installed LiteLLM, read without importing it: they change with a pinned
version, never over the network.

The standard prices count: batch, flex and priority aren't used. Off-peak discounts are ignored too,
so such a call is booked at no less than its cost. A model has no price here when its cost depends on
more than tokens, when its map entry has a table of tiers by provider (`tiered_pricing`), or when the
price is 0: the operator sets one.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from decimal import Context, Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aisaas.prices import MILLION, Price, Rates, Tier

_ABOVE = re.compile(
    r"(?:input_cost_per_token|output_cost_per_token|cache_read_input_token_cost"
    r"|cache_creation_input_token_cost(?:_above_1hr)?)_above_(\d+)(k?)_tokens"
)
_SOLD_BY_TOKENS = ("chat", "responses", "completion")
# Fees besides tokens that every call pays.
_OTHER_FEES = ("input_cost_per_request", "citation_cost_per_token", "tiered_pricing")
_SEARCHES_ALWAYS = re.compile(r"perplexity/|-search-(?:preview|api)|deep-research")
# Factors of `provider_specific_entry` that apply only to calls that request them.
_ASKED_FOR = frozenset({"fast"})
# These price a prompt of exactly the threshold by the higher tier.
_INCLUSIVE = frozenset({"xai"})
# The price of a cache read where the map has none, as a share of the input's price.
_CACHED_SHARE = {"fireworks_ai": Decimal("0.5")}
# As LiteLLM does it: providers whose models are in the map under several names.
_FAMILIES = ("vertex_ai", "bedrock", "fireworks_ai")
# Prices in the map are binary fractions; their decimal places beyond these are noise.
_EXACT = Context(prec=12)


def package_dir() -> Path:
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("litellm is not installed")
    return Path(spec.submodule_search_locations[0])


@cache
def price_map() -> Mapping[str, Mapping[str, Any]]:
    path = package_dir() / "model_prices_and_context_window_backup.json"
    return json.loads(path.read_text(encoding="utf-8"))


def price_of(upstream: str) -> Price | None:
    """The price of a model by LiteLLM's name for it, or None when the map has none."""
    found = find_entry(upstream)
    return None if found is None else price_of_entry(*found)


def find_entry(upstream: str) -> tuple[str, Mapping[str, Any]] | None:
    """A model's key and entry in the map.

    An entry without the provider's prefix counts if it is that provider's. `openai/` may be any server
    that speaks OpenAI's protocol, so there only the model's name decides.
    """
    prices = price_map()
    if (entry := prices.get(upstream)) is not None:
        return upstream, entry
    provider, _, name = upstream.partition("/")
    entry = prices.get(name)
    if entry is None:
        return None
    of = str(entry.get("litellm_provider", ""))
    same = any(provider == family and of.startswith(family) for family in _FAMILIES)
    return (name, entry) if provider in {of, "openai"} or same else None


def entry_of(upstream: str) -> Mapping[str, Any]:
    """The map's entry for a model; empty if it doesn't know it."""
    found = find_entry(upstream)
    return {} if found is None else found[1]


def price_of_entry(name: str, entry: Mapping[str, Any]) -> Price | None:
    """The price by an entry of the map."""
    if entry.get("mode") not in _SOLD_BY_TOKENS:
        return None
    into, out = _usd(entry, "input_cost_per_token"), _usd(entry, "output_cost_per_token")
    if into is None or out is None or into == out == 0:
        return None
    if any(fee in entry for fee in _OTHER_FEES) or any("_per_second" in key for key in entry):
        return None
    if _SEARCHES_ALWAYS.search(name):
        return None
    provider = str(entry.get("litellm_provider", ""))
    base = _Entry(entry, provider).rates()
    return Price(
        input_usd=base.input_usd,
        output_usd=base.output_usd,
        cached_input_usd=base.cached_input_usd,
        version=f"litellm-{version('litellm')}",
        cache_write_usd=base.cache_write_usd,
        cache_write_1h_usd=base.cache_write_1h_usd,
        thinking_usd=base.thinking_usd,
        audio_input_usd=base.audio_input_usd,
        audio_output_usd=base.audio_output_usd,
        tiers=_tiers(entry, provider),
        regions=_regions(entry),
    )


def _regions(entry: Mapping[str, Any]) -> tuple[tuple[str, Decimal], ...]:
    factors: Mapping[str, Any] = entry.get("provider_specific_entry") or {}
    return tuple(
        (region, Decimal(str(factor)))
        for region, factor in factors.items()
        if region not in _ASKED_FOR
    )


def _tiers(entry: Mapping[str, Any], provider: str) -> tuple[Tier, ...]:
    """Each tier with all its rates: a missing one is that of the tier below."""
    names: dict[int, str] = {}
    for key, value in entry.items():
        found = _ABOVE.fullmatch(key)
        if found is not None and value is not None:
            names[int(found[1]) * (1000 if found[2] else 1)] = f"_above_{found[1]}{found[2]}_tokens"
    reached: list[str] = []
    tiers: list[Tier] = []
    for above in sorted(names):
        reached.insert(0, names[above])
        inclusive = provider in _INCLUSIVE
        tiers.append(Tier(above - inclusive, _Entry(entry, provider).rates(*reached)))
    return tuple(tiers)


class _Entry:
    def __init__(self, entry: Mapping[str, Any], provider: str) -> None:
        self._entry = entry
        self._cached_share = _CACHED_SHARE.get(provider)

    def rates(self, *suffixes: str) -> Rates:
        """The rates of a tier. Args: the suffixes of its keys, then those of the tiers below."""
        into = self._first("input_cost_per_token", suffixes) or Decimal(0)
        out = self._first("output_cost_per_token", suffixes) or Decimal(0)
        cached = self._first("cache_read_input_token_cost", suffixes)
        if cached is None and self._cached_share is not None:
            plain = _usd(self._entry, "input_cost_per_token") or Decimal(0)
            cached = plain * self._cached_share
        write = self._first("cache_creation_input_token_cost", suffixes)
        write = into if write is None else write
        hour = self._first("cache_creation_input_token_cost_above_1hr", suffixes)
        # These have one rate for any prompt length.
        thinking = _usd(self._entry, "output_cost_per_reasoning_token")
        audio_in = _usd(self._entry, "input_cost_per_audio_token")
        audio_out = _usd(self._entry, "output_cost_per_audio_token")
        return Rates(
            input_usd=into,
            output_usd=out,
            cached_input_usd=into if cached is None else cached,
            cache_write_usd=write,
            cache_write_1h_usd=write if hour is None else hour,
            thinking_usd=out if thinking is None else thinking,
            audio_input_usd=into if audio_in is None else audio_in,
            audio_output_usd=out if audio_out is None else audio_out,
        )

    def _first(self, key: str, suffixes: tuple[str, ...]) -> Decimal | None:
        found = (_usd(self._entry, key + suffix) for suffix in (*suffixes, ""))
        return next((rate for rate in found if rate is not None), None)


def _usd(entry: Mapping[str, Any], key: str) -> Decimal | None:
    """USD per million tokens."""
    value = entry.get(key)
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    return _plain(_EXACT.multiply(Decimal(str(value)), MILLION))


def _plain(number: Decimal) -> Decimal:
    """Without an exponent or trailing zeros, as people write it."""
    short = number.normalize()
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short
