"""Prices for admins: their versions, where prices differ from LiteLLM's pinned map, and whether each
ledger line still adds up."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from aisaas import formats
from aisaas.accounts.admin_access import Actor, admin_read
from aisaas.billing.ledger import price_store
from aisaas.billing.ledger.price_store import PriceVersion
from aisaas.billing.ledger.recompute import Receipt, recompute
from aisaas.controls.lineup import ListedModel, ModelSource
from aisaas.controls.model_overrides import offers_of
from aisaas.db.service import ServiceDatabase
from aisaas.prices import Price, Rates, Tier

log = logging.getLogger(__name__)

# Ledger lines recomputed per transaction.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class PriceDifference:
    """A model whose price differs from the one in LiteLLM's map. `since` is when the map's price was
    first seen here; None before the job has run."""

    model: str
    sold: Price
    in_map: Price
    since: datetime | None


class Prices:
    """Args: the source of the models, and the lookup of a model's price in the pinned map."""

    def __init__(
        self,
        database: ServiceDatabase,
        source: ModelSource,
        map_price: Callable[[ListedModel], Price | None],
    ) -> None:
        self._database = database
        self._source = source
        self._map_price = map_price
        self._reported: frozenset[tuple[str, str, str]] = frozenset()

    async def versions(self, reader: Actor) -> Sequence[PriceVersion]:
        """Every price ever seen or booked, by model, the newest first.

        Raises:
            NotFound: not an admin.
            Unavailable: the database does not answer.
        """
        async with admin_read(self._database, reader) as session:
            return await price_store.versions(session)

    async def differences(self, reader: Actor) -> Sequence[PriceDifference]:
        """In the catalogue's order. Raises as `versions`."""
        async with admin_read(self._database, reader) as session:
            lineup = await self._source.read(session)
            known = await price_store.versions(session)
        since = {(each.model, each.price.version, each.price.digest): each.since for each in known}
        found: list[PriceDifference] = []
        for offer in offers_of(lineup.present, lineup.words).values():
            in_map = self._map_price(offer.listed)
            if offer.price is None or in_map is None or in_map.costs_as(offer.price):
                continue
            key = (offer.listed.id, in_map.version, in_map.digest)
            found.append(PriceDifference(offer.listed.id, offer.price, in_map, since.get(key)))
        return found

    async def receipts(self, reader: Actor, first: date, last: date) -> AsyncGenerator[Receipt]:
        """Each line of these days (UTC, inclusive), recomputed. Raises as `versions`."""
        after: tuple[datetime, UUID] | None = None
        while True:
            async with admin_read(self._database, reader) as session:
                lines = await price_store.priced_lines(
                    session, first, last, after=after, limit=BATCH
                )
            for line in lines:
                yield recompute(line)
            if len(lines) < BATCH:
                return
            after = lines[-1].created_at, lines[-1].id

    async def record(self) -> Sequence[PriceDifference]:
        """For the job: record our prices and the map's, and log each difference once.

        Raises DependencyError without the database.
        """
        async with self._database.transaction() as session:
            lineup = await self._source.read(session)
            offers = offers_of(lineup.present, lineup.words).values()
            prices = [(offer.listed.id, offer.price) for offer in offers]
            prices += [(offer.listed.id, self._map_price(offer.listed)) for offer in offers]
            await price_store.add_versions(
                session, [(model, price) for model, price in prices if price is not None]
            )
        found = await self.differences("job:record_prices")
        differing = frozenset((each.model, each.sold.digest, each.in_map.digest) for each in found)
        for each in found:
            if (each.model, each.sold.digest, each.in_map.digest) not in self._reported:
                log.warning(
                    "%s is sold at the price %s, which isn't LiteLLM's (%s)",
                    each.model,
                    each.sold.version,
                    each.in_map.version,
                )
        self._reported = differing
        return found


def price_lines(price: Price) -> list[str]:
    """A price in words: the basic rates, other kinds if they cost something else, and a line per tier.
    USD per million tokens."""
    kinds = _other_kinds(price.base)
    return [
        f"{_plain_rates(price.base)} per 1M tokens",
        *([kinds[0].upper() + kinds[1:]] if kinds else []),
        *(_tier_line(tier) for tier in price.tiers),
    ]


def _plain_rates(rates: Rates) -> str:
    return (
        f"{formats.price(rates.input_usd)} in, {formats.price(rates.output_usd)} out, "
        f"{formats.price(rates.cached_input_usd)} cached"
    )


def _other_kinds(rates: Rates) -> str:
    kinds = (
        ("cache write", rates.cache_write_usd, rates.input_usd),
        ("cache write for 1 hour", rates.cache_write_1h_usd, rates.cache_write_usd),
        ("thinking", rates.thinking_usd, rates.output_usd),
        ("audio in", rates.audio_input_usd, rates.input_usd),
        ("audio out", rates.audio_output_usd, rates.output_usd),
    )
    return ", ".join(f"{kind} {formats.price(usd)}" for kind, usd, plain in kinds if usd != plain)


def _tier_line(tier: Tier) -> str:
    above = f"{tier.above // 1000}k" if tier.above % 1000 == 0 else f"{tier.above:,}"
    kinds = _other_kinds(tier.rates)
    return f"Above {above}: {_plain_rates(tier.rates)}{f', {kinds}' if kinds else ''}"
