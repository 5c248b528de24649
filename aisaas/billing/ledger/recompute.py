"""Receipts recomputed from stored values only: a ledger line's counts, its weight, and the price it
names."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from aisaas.billing.ledger.price_store import PricedLine
from aisaas.billing.reservations.quota import quota_tokens, rounded
from aisaas.prices import Price, Tokens


@dataclass(frozen=True, slots=True)
class Receipt:
    """A line and its recomputed cost. `computed_usd` is None if its price isn't stored and can't be
    derived from the line, as for lines written before prices had versions."""

    line: PricedLine
    computed_usd: Decimal | None
    computed_quota_tokens: int

    @property
    def state(self) -> Literal["same", "differs", "unknown"]:
        if self.computed_quota_tokens != self.line.quota_tokens:
            return "differs"
        if self.computed_usd is None:
            return "unknown"
        return "same" if self.computed_usd == self.line.cost_usd else "differs"


def recompute(line: PricedLine) -> Receipt:
    tokens = Tokens(
        prompt=line.prompt_tokens,
        completion=line.completion_tokens,
        cached=line.cached_prompt_tokens,
        cache_write=line.cache_write_tokens,
        cache_write_1h=line.cache_write_1h_tokens,
        thinking=line.thinking_tokens,
        region=line.region,
    )
    price = _price(line)
    return Receipt(
        line=line,
        computed_usd=None if price is None else rounded(price.cost(tokens)),
        computed_quota_tokens=quota_tokens(line.weight, tokens.prompt + tokens.completion),
    )


def _price(line: PricedLine) -> Price | None:
    if line.price is not None:
        return Price.from_dict(line.price)
    if line.cached_prompt_tokens:
        return None
    into, out = line.input_usd_per_million, line.output_usd_per_million
    return Price(into, out, into, line.price_version)
