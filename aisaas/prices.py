"""What a model costs its operator: USD per million tokens, by the kind of token and the prompt's size.

A tier follows the whole prompt (including tokens read from and written to a cache) and prices every
token of the call, the completion's too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from functools import lru_cache
from hashlib import sha256
from typing import Any

MILLION = Decimal(1_000_000)
MICRO_USD = Decimal("0.000001")
ONE = Decimal(1)
# The prompt's share of a call's tokens, roughly as in real conversations.
PROMPT_SHARE = Decimal("0.75")
# The value of a quota token, in USD per million: a model's weight makes its tokens cost no more.
QUOTA_TOKEN_USD = Decimal("0.30")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a call. Cache reads, cache writes and audio are part of the prompt; thinking
    and audio are part of the completion. `region` is where the provider reports that it
    answered."""

    prompt: int
    completion: int
    cached: int = 0
    # Written to a cache; those that are kept for an hour are part of them.
    cache_write: int = 0
    cache_write_1h: int = 0
    thinking: int = 0
    audio_prompt: int = 0
    audio_completion: int = 0
    region: str = ""

    def within(self, prompt: int, completion: int) -> Tokens:
        """The same call with at most so many tokens."""
        prompt, completion = min(prompt, self.prompt), min(completion, self.completion)
        cached = min(self.cached, prompt)
        write = min(self.cache_write, prompt - cached)
        thinking = min(self.thinking, completion)
        return Tokens(
            prompt=prompt,
            completion=completion,
            cached=cached,
            cache_write=write,
            cache_write_1h=min(self.cache_write_1h, write),
            thinking=thinking,
            audio_prompt=min(self.audio_prompt, prompt - cached - write),
            audio_completion=min(self.audio_completion, completion - thinking),
            region=self.region,
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens of each kind."""

    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal
    cache_write_usd: Decimal
    cache_write_1h_usd: Decimal
    thinking_usd: Decimal
    audio_input_usd: Decimal
    audio_output_usd: Decimal

    def cost(self, tokens: Tokens) -> Decimal:
        """USD, not rounded."""
        short_write = tokens.cache_write - tokens.cache_write_1h
        fresh = tokens.prompt - tokens.cached - tokens.cache_write - tokens.audio_prompt
        text = tokens.completion - tokens.thinking - tokens.audio_completion
        total = (
            max(fresh, 0) * self.input_usd
            + tokens.cached * self.cached_input_usd
            + max(short_write, 0) * self.cache_write_usd
            + tokens.cache_write_1h * self.cache_write_1h_usd
            + tokens.audio_prompt * self.audio_input_usd
            + max(text, 0) * self.output_usd
            + tokens.thinking * self.thinking_usd
            + tokens.audio_completion * self.audio_output_usd
        )
        return total / MILLION


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a call whose prompt has more than `above` tokens."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price; `version` names where it comes from.

    The rates here are those of a short prompt; a kind of token without its own rate costs the same
    as others of its direction. `tiers` are in ascending order. `regions` are factors on everything,
    by where the provider reports that it answered.
    """

    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal
    version: str
    cache_write_usd: Decimal | None = None
    cache_write_1h_usd: Decimal | None = None
    thinking_usd: Decimal | None = None
    audio_input_usd: Decimal | None = None
    audio_output_usd: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    regions: tuple[tuple[str, Decimal], ...] = ()

    @property
    def base(self) -> Rates:
        """The rates below the first tier."""
        write = _or(self.cache_write_usd, self.input_usd)
        return Rates(
            input_usd=self.input_usd,
            output_usd=self.output_usd,
            cached_input_usd=self.cached_input_usd,
            cache_write_usd=write,
            cache_write_1h_usd=_or(self.cache_write_1h_usd, write),
            thinking_usd=_or(self.thinking_usd, self.output_usd),
            audio_input_usd=_or(self.audio_input_usd, self.input_usd),
            audio_output_usd=_or(self.audio_output_usd, self.output_usd),
        )

    def rates(self, prompt_tokens: int) -> Rates:
        """The rates of a call with such a prompt."""
        reached = [tier.rates for tier in self.tiers if prompt_tokens > tier.above]
        return reached[-1] if reached else self.base

    def cost(self, tokens: Tokens) -> Decimal:
        """USD, not rounded."""
        factor = dict(self.regions).get(tokens.region, ONE)
        return self.rates(tokens.prompt).cost(tokens) * factor

    def worst(self, prompt_tokens: int) -> tuple[Decimal, Decimal]:
        """USD per million tokens of the prompt and of the completion that a call with at most so long
        a prompt can't exceed, whatever is cached or thought. Prompts are text, so audio is left out."""
        reached = [self.base, *(t.rates for t in self.tiers if prompt_tokens > t.above)]
        factor = max([ONE, *(factor for _, factor in self.regions)])
        into = max(
            max(r.input_usd, r.cached_input_usd, r.cache_write_usd, r.cache_write_1h_usd)
            for r in reached
        )
        out = max(max(r.output_usd, r.thinking_usd) for r in reached)
        return into * factor, out * factor

    def rescaled(
        self, *, input_usd: Decimal, output_usd: Decimal, cached_input_usd: Decimal, version: str
    ) -> Price:
        """Another price for short prompts. What it doesn't name keeps its proportion to what it does:
        cache writes to the input, thinking to the output, and each tier to the short prompt."""
        base = self.base
        own = {
            "input_usd": input_usd,
            "output_usd": output_usd,
            "cached_input_usd": cached_input_usd,
        }

        def scaled(rates: Rates) -> Rates:
            return Rates(
                **{
                    name: _times(
                        getattr(rates, name), own[_LED_BY[name]], getattr(base, _LED_BY[name])
                    )
                    for name in RATES
                }
            )

        short = scaled(base)
        return Price(
            **{name: getattr(short, name) for name in RATES},
            version=version,
            tiers=tuple(Tier(tier.above, scaled(tier.rates)) for tier in self.tiers),
            regions=self.regions,
        )

    def costs_as(self, other: Price) -> bool:
        """Whether every call costs the same, whatever the versions are called."""
        return self.digest == other.digest

    @property
    def highest(self) -> Decimal:
        """Of all its rates."""
        of = (self.base, *(tier.rates for tier in self.tiers))
        return max(getattr(rates, name) for rates in of for name in RATES)

    @property
    def digest(self) -> str:
        """Identifies the price by its content: equal prices have equal digests."""
        return _digest(self.base, self.tiers, self.regions)

    def to_dict(self) -> dict[str, Any]:
        """As JSON that loses nothing: what a call settles at, and what its receipt is computed from."""
        return {
            **{n: _text(rate) for n, rate in _rates_of(self).items() if rate is not None},
            "version": self.version,
            "tiers": [
                {"above": tier.above, **{n: _text(r) for n, r in _rates_of(tier.rates).items()}}
                for tier in self.tiers
            ],
            "regions": {name: _text(factor) for name, factor in self.regions},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Price:
        """The opposite. A price that the release before has stored has neither tiers nor writes.

        Raises:
            KeyError, TypeError, ArithmeticError, AttributeError: that is no price.
        """
        return cls(
            **_read_rates(stored),
            version=str(stored["version"]),
            tiers=tuple(
                Tier(int(tier["above"]), Rates(**_read_rates(tier)))
                for tier in stored.get("tiers", ())
            ),
            regions=tuple(
                (str(name), Decimal(factor)) for name, factor in stored.get("regions", {}).items()
            ),
        )


# Every call that is booked asks for it, and there are as many prices as models.
@lru_cache(maxsize=1000)
def _digest(base: Rates, tiers: tuple[Tier, ...], regions: tuple[tuple[str, Decimal], ...]) -> str:
    said = {
        **{name: _text(rate) for name, rate in _rates_of(base).items()},
        "tiers": [
            {"above": tier.above, **{n: _text(r) for n, r in _rates_of(tier.rates).items()}}
            for tier in tiers
        ],
        "regions": {name: _text(factor) for name, factor in sorted(regions)},
    }
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


RATES = tuple(field.name for field in fields(Rates))
# The plain rate to which each of the other rates keeps its proportion.
_LED_BY = {
    name: "output_usd" if name.startswith(("output", "thinking", "audio_output")) else "input_usd"
    for name in RATES
} | {"cached_input_usd": "cached_input_usd"}


def _rates_of(of: Price | Rates) -> dict[str, Any]:
    return {name: getattr(of, name) for name in RATES}


def _times(rate: Decimal, own: Decimal, listed: Decimal) -> Decimal:
    """To a millionth of a dollar; beside a rate of 0 there is no proportion."""
    return own if listed == 0 else (rate * own / listed).quantize(MICRO_USD, ROUND_HALF_UP)


def _text(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _read_rates(stored: Mapping[str, Any]) -> dict[str, Decimal]:
    return {name: Decimal(stored[name]) for name in RATES if name in stored}


def _or(rate: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if rate is None else rate


def usual_usd(price: Price) -> Decimal:
    """USD per million tokens of a usual call: short prompts, three of their tokens to one of the reply."""
    return price.input_usd * PROMPT_SHARE + price.output_usd * (1 - PROMPT_SHARE)


def weight_of(price: Price) -> Decimal:
    """Quota tokens for a token of a model, by the one rule: what a usual call costs, in quota tokens,
    rounded up to a whole number. So a quota token never costs more than QUOTA_TOKEN_USD says."""
    whole = (usual_usd(price) / QUOTA_TOKEN_USD).to_integral_value(ROUND_CEILING)
    return max(whole, ONE)


def window_within(context_window: int | None, price: Price | None) -> int | None:
    """A model's window up to its first tier: beyond it a token costs more than the weight pays for."""
    if context_window is None:
        return None
    tiers = price.tiers if price is not None else ()
    return min((context_window, *(tier.above for tier in tiers)))
