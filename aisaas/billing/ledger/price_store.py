"""The SQL of price versions, and of the ledger lines that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.prices import Price


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """A model's price, and since when it is known here."""

    model: str
    price: Price
    since: datetime


@dataclass(frozen=True, slots=True)
class PricedLine:
    """What a ledger line's cost is computed from. `price` is None if the line names no stored
    price."""

    id: UUID
    created_at: datetime
    model: str
    price_version: str
    prompt_tokens: int
    cached_prompt_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    completion_tokens: int
    thinking_tokens: int
    region: str
    weight: Decimal
    quota_tokens: int
    input_usd_per_million: Decimal
    output_usd_per_million: Decimal
    cost_usd: Decimal
    price: dict[str, Any] | None


# A price that is already known stays as it is.
async def add_versions(session: AsyncSession, prices: Sequence[tuple[str, Price]]) -> int:
    """Store these models' prices; returns how many are new."""
    added = 0
    for model, price in prices:
        rows = await session.execute(
            text(
                """
                insert into private.price_versions (model, version, digest, price)
                values (:model, :version, :digest, :price)
                on conflict do nothing returning model
                """
            ),
            {
                "model": model,
                "version": price.version,
                "digest": price.digest,
                "price": Jsonb(price.to_dict()),
            },
        )
        added += len(rows.all())
    return added


async def versions(session: AsyncSession) -> Sequence[PriceVersion]:
    """By model, the newest first."""
    rows = await session.execute(
        text(
            """
            select model, price, since from private.price_versions
            order by model, since desc, version, digest
            """
        )
    )
    return [PriceVersion(row.model, Price.from_dict(row.price), row.since) for row in rows]


async def priced_lines(
    session: AsyncSession,
    first: date,
    last: date,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[PricedLine]:
    """Of these days (UTC, inclusive), the oldest first."""
    rows = await session.execute(
        text(
            """
            select u.id, u.created_at, u.model, u.price_version, u.prompt_tokens,
              u.cached_prompt_tokens, u.cache_write_tokens, u.cache_write_1h_tokens,
              u.completion_tokens, u.thinking_tokens, u.region, u.weight, u.quota_tokens,
              u.input_usd_per_million, u.output_usd_per_million, u.cost_usd, p.price
            from public.usage_records u
              left join private.price_versions p on p.model = u.model
                and p.version = u.price_version and p.digest = u.price_digest
            where u.created_at >= cast(:first as date)::timestamp at time zone 'UTC'
              and u.created_at < (cast(:last as date) + 1)::timestamp at time zone 'UTC'
              and (cast(:at as timestamptz) is null or (u.created_at, u.id) > (:at, :id))
            order by u.created_at, u.id limit :limit
            """
        ),
        {
            "first": first,
            "last": last,
            "at": after and after[0],
            "id": after and after[1],
            "limit": limit,
        },
    )
    return [PricedLine(**row) for row in rows.mappings()]
