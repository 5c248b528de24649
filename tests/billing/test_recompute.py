"""Every receipt can be computed again from what is stored."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from aisaas.adapters.litellm_prices import price_of
from aisaas.billing.ledger import price_store
from aisaas.billing.ledger.models import Charge
from aisaas.billing.ledger.recompute import Receipt, recompute
from aisaas.billing.reservations.quota import book
from aisaas.language_models import Model
from aisaas.prices import Price, Tier
from tests.billing.conftest import Billing, charge, claim, model

UPSTREAMS = (
    "anthropic/claude-haiku-5-5",
    "openai/gpt-6.1-sol",
    "gemini/gemini-2.5-pro",
    "openai/gpt-4o-mini",
    "deepseek/deepseek-chat",
)


def sold(upstream: str) -> Model:
    price = price_of(upstream)
    assert price is not None
    return replace(model(), id=upstream, price=price, context_window=2_000_000)


async def booked(billing: Billing, user_id: UUID, of: Model, **used: object) -> Charge:
    wanted = claim(
        user_id,
        prompt=1_000_000,
        max_tokens=100_000,
        limit=1_000_000_000,
        of=of,
        # The free tier's day is small, and everybody's.
        free=False,
    )
    await billing.quota().reserve(wanted)
    what = replace(charge(wanted, 0), **used)
    async with billing.service.transaction() as session:
        assert await book(session, what) is not None
    return what


async def receipts(billing: Billing, user_id: UUID) -> list[Receipt]:
    mine = {
        row[0] for row in billing.sql("select id from usage_records where user_id = %s", user_id)
    }
    async with billing.service.transaction() as session:
        today = datetime.now(UTC).date()
        lines = await price_store.priced_lines(
            session, date(2020, 1, 1), today, after=None, limit=100_000
        )
    return [recompute(line) for line in lines if line.id in mine]


async def test_every_line_comes_to_what_it_says(billing: Billing, someone: UUID) -> None:
    chance = random.Random(11)
    for upstream in UPSTREAMS:
        of = sold(upstream)
        for size in (100, 120_000, 205_000, 280_000):
            cached = chance.randint(0, size)
            write = chance.randint(0, size - cached)
            completion = chance.randint(0, 50_000)
            await booked(
                billing,
                someone,
                of,
                prompt_tokens=size,
                cached_prompt_tokens=cached,
                cache_write_tokens=write,
                cache_write_1h_tokens=chance.randint(0, write),
                completion_tokens=completion,
                thinking_tokens=completion // 3,
                region=chance.choice(["", "us"]),
            )
    found = await receipts(billing, someone)
    assert len(found) == len(UPSTREAMS) * 4
    assert {each.state for each in found} == {"same"}


async def test_line_is_booked_by_the_tier_that_its_prompt_reached(
    billing: Billing, someone: UUID
) -> None:
    await booked(
        billing,
        someone,
        sold("anthropic/claude-haiku-5-5"),
        prompt_tokens=150_000,
        completion_tokens=100,
    )
    assert billing.sql(
        "select cost_usd, input_usd_per_million, output_usd_per_million from usage_records"
        " where user_id = %s",
        someone,
    ) == [(Decimal("0.075250"), Decimal("0.500000"), Decimal("2.500000"))]


async def test_edited_price_of_the_same_version_leaves_earlier_receipts_as_they_were(
    billing: Billing, someone: UUID
) -> None:
    cheap = replace(model(usd="1"), id=f"edited-{someone}")
    dear = replace(cheap, price=replace(cheap.price, cached_input_usd=Decimal("0.5")))
    for of in (cheap, dear, cheap):
        await booked(billing, someone, of, prompt_tokens=1000, cached_prompt_tokens=1000)
    found = await receipts(billing, someone)
    assert [each.computed_usd for each in found] == [
        Decimal("0.001000"),
        Decimal("0.000500"),
        Decimal("0.001000"),
    ]
    assert {each.state for each in found} == {"same"}
    assert billing.sql(
        "select count(*) from private.price_versions where model = %s", cheap.id
    ) == [(2,)]


@pytest.mark.parametrize(
    "other",
    [
        {"cost_usd": Decimal("0.000061")},
        {"quota_tokens": 201},
        {"weight": Decimal(2)},
        {"prompt_tokens": 101},
        {"thinking_tokens": 1},
        {"region": "us"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_line_that_says_something_else_is_found(
    billing: Billing, someone: UUID, other: dict[str, Any]
) -> None:
    price = replace(model(usd="0.3").price, thinking_usd=Decimal(3), regions=(("us", Decimal(2)),))
    of = replace(model(), id=f"other-{someone}", price=price)
    await booked(billing, someone, of, prompt_tokens=100, completion_tokens=100)
    (receipt,) = await receipts(billing, someone)
    assert receipt.state == "same"
    # Not in the ledger itself, which others sum.
    assert recompute(replace(receipt.line, **other)).state == "differs"


@pytest.mark.parametrize(("cached", "state"), [(0, "same"), (1, "unknown")])
async def test_line_from_before_prices_were_stored(
    billing: Billing, someone: UUID, cached: int, state: str
) -> None:
    await booked(
        billing,
        someone,
        replace(model(usd="2"), id=f"old-{someone}"),
        prompt_tokens=100,
        cached_prompt_tokens=cached,
    )
    billing.sql("update usage_records set price_digest = null where user_id = %s", someone)
    (receipt,) = await receipts(billing, someone)
    assert receipt.state == state


async def test_kinds_beyond_what_they_are_part_of_are_booked_as_far_as_they_fit(
    billing: Billing, someone: UUID
) -> None:
    price = Price(
        Decimal(1),
        Decimal(1),
        Decimal("0.1"),
        "tests",
        cache_write_usd=Decimal(2),
        tiers=(Tier(50, model(usd="3").price.base),),
    )
    await booked(
        billing,
        someone,
        replace(model(), id=f"kinds-{someone}", price=price),
        prompt_tokens=50,
        cached_prompt_tokens=20,
        cache_write_tokens=900,
        cache_write_1h_tokens=901,
        completion_tokens=5,
        thinking_tokens=6,
    )
    assert billing.sql(
        "select cached_prompt_tokens, cache_write_tokens, cache_write_1h_tokens, thinking_tokens"
        " from usage_records where user_id = %s",
        someone,
    ) == [(20, 30, 30, 5)]
    (receipt,) = await receipts(billing, someone)
    assert receipt.state == "same"


async def test_line_that_was_cut_to_its_reservation_still_explains_its_cost(
    billing: Billing, someone: UUID
) -> None:
    wanted = claim(someone, prompt=100, max_tokens=400, of=sold(UPSTREAMS[0]), free=False)
    await billing.quota().reserve(wanted)
    beyond = replace(
        charge(wanted, 50_000),
        prompt_tokens=150_000,
        cached_prompt_tokens=40,
        cache_write_tokens=120_000,
        cache_write_1h_tokens=110_000,
        thinking_tokens=20_000,
        region="us",
    )
    async with billing.service.transaction() as session:
        done = await book(session, beyond)
    assert done is not None
    assert done.cost_usd <= done.held.cost_usd
    (receipt,) = await receipts(billing, someone)
    assert (receipt.state, receipt.computed_usd) == ("same", done.cost_usd)
