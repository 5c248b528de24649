"""Prices as admins see them: versions with dates, differences from the pinned map, receipts."""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import replace
from decimal import Decimal

import pytest

from aisaas.admin.prices import PriceDifference, Prices, price_lines
from aisaas.controls.lineup import ListedModel
from aisaas.controls.model_overrides import ModelChange, OfferDetails, OwnPrice, offer_of
from aisaas.errors import ActionInvalid, NotFound
from aisaas.prices import Price, Rates, Tier
from aisaas.ui.admin.controls import view
from aisaas.wiring import Services
from tests.admin.members import new_admin
from tests.services import Database, new_principal

OPERATOR = "operator:tests"


@pytest.fixture(autouse=True)
def as_before(database: Database) -> Generator[None]:
    """Models are everybody's."""
    yield
    database("delete from private.model_overrides")


def usd(amount: str) -> Decimal:
    return Decimal(amount)


TIERED = Price(
    usd("0.1"),
    usd("0.5"),
    usd("0.01"),
    "litellm-tests",
    cache_write_usd=usd("0.125"),
    tiers=(
        Tier(
            100_000,
            Rates(
                usd("0.5"),
                usd("2.5"),
                usd("0.05"),
                usd("0.625"),
                usd("0.625"),
                usd("2.5"),
                usd("0.5"),
                usd("2.5"),
            ),
        ),
    ),
)


def watching(services: Services, in_map: Price | None) -> Prices:
    """A map that has this price for the demo model, and none for others."""

    def map_price(line: ListedModel) -> Price | None:
        return in_map if line.id == "demo" else None

    return Prices(services.prices._database, services.prices._source, map_price)  # pyright: ignore[reportPrivateUsage]


async def test_model_sold_at_another_price_than_the_maps_is_shown_with_both(
    services: Services, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    admin = (await new_admin(services, database)).principal
    (listed,) = [line for line in services.catalogue.lines if line.id == "demo"]
    assert listed.price is not None
    same = replace(listed.price, version="litellm-tests")
    assert await watching(services, same).differences(admin) == []
    assert await watching(services, None).differences(admin) == []
    prices = watching(services, TIERED)
    (found,) = await prices.differences(admin)
    assert (found.model, found.sold, found.in_map) == ("demo", listed.price, TIERED)
    # Said once, and again when it is another difference.
    with caplog.at_level(logging.WARNING, "aisaas.admin.prices"):
        await prices.record()
        await prices.record()
    assert caplog.text.count("which isn't LiteLLM's") == 1
    (found,) = await prices.differences(admin)
    assert found.since is not None


async def test_override_that_differs_from_the_map_is_found_and_one_like_it_is_not(
    services: Services,
) -> None:
    (listed,) = [line for line in services.catalogue.lines if line.id == "demo"]
    assert listed.price is not None
    prices = watching(services, replace(listed.price, version="litellm-tests"))
    own = ModelChange(price=OwnPrice(usd("1"), usd("2"), usd("0.5")))
    await services.offers.change("demo", own, actor=OPERATOR, reason="a test")
    (found,) = await prices.differences(OPERATOR)
    assert found.sold.version.startswith("admin-")
    await services.offers.change("demo", ModelChange(price=None), actor=OPERATOR, reason="a test")
    assert await prices.differences(OPERATOR) == []


async def test_each_price_is_a_version_with_its_date(services: Services) -> None:
    own = ModelChange(price=OwnPrice(usd("3"), usd("6"), usd("1")))
    await services.offers.change("demo", own, actor=OPERATOR, reason="a test")
    await services.prices.record()
    mine = [each for each in await services.prices.versions(OPERATOR) if each.model == "demo"]
    newest = mine[0]
    assert newest.price.version.startswith("admin-")
    assert (newest.price.input_usd, newest.price.output_usd) == (3, 6)
    assert newest.since >= mine[-1].since
    # A second look adds nothing.
    await services.prices.record()
    again = [each for each in await services.prices.versions(OPERATOR) if each.model == "demo"]
    assert again == mine


async def test_only_admins_look(services: Services) -> None:
    ada = await new_principal(services)
    with pytest.raises(NotFound):
        await services.prices.versions(ada)
    with pytest.raises(NotFound):
        await services.prices.differences(ada)


async def test_price_whose_tiers_would_not_fit_the_ledger_is_refused(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (listed,) = [line for line in services.catalogue.lines if line.id == "demo"]
    source = services.offers._source  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(source, "_listed", (replace(listed, price=TIERED),))
    # A write to the cache costs 6.25 times as much as a token in, above 100k.
    own = ModelChange(price=OwnPrice(usd("1601"), usd("5"), usd("1")))
    with pytest.raises(ActionInvalid, match="long prompts"):
        await services.offers.change("demo", own, actor=OPERATOR, reason="a test")
    own = ModelChange(price=OwnPrice(usd("1600"), usd("5"), usd("1")))
    assert await services.offers.change("demo", own, actor=OPERATOR, reason="a test")
    (shown,) = [each for each in await services.offers.all() if each.offer.listed.id == "demo"]
    assert shown.offer.price is not None
    assert shown.offer.price.rates(100_001).cache_write_usd == 10_000
    assert shown.offer.price.base.cache_write_usd == 2_000


async def test_price_set_by_the_release_before_is_the_columns(
    services: Services, database: Database
) -> None:
    own = ModelChange(price=OwnPrice(usd("3"), usd("6"), usd("1")))
    await services.offers.change("demo", own, actor=OPERATOR, reason="a test")
    database(
        "update private.model_overrides set input_usd = 4, price_version = 'admin-0'"
        " where model = 'demo'"
    )
    (shown,) = [each for each in await services.offers.all() if each.offer.listed.id == "demo"]
    assert shown.offer.price is not None
    assert (shown.offer.price.version, shown.offer.price.input_usd) == ("admin-0", 4)


def test_price_in_words_has_its_kinds_and_tiers() -> None:
    assert price_lines(TIERED) == [
        "$0.10 in, $0.50 out, $0.01 cached per 1M tokens",
        "Cache write $0.125",
        "Above 100k: $0.50 in, $2.50 out, $0.05 cached, cache write $0.625",
    ]
    flat = Price(usd("1"), usd("2"), usd("1"), "tests")
    assert price_lines(flat) == ["$1 in, $2 out, $1 cached per 1M tokens"]


def test_controls_tab_shows_kinds_tiers_and_the_maps_price(services: Services) -> None:
    (listed,) = [line for line in services.catalogue.lines if line.id == "demo"]
    shown = OfferDetails(offer_of(replace(listed, price=TIERED), None), (), None, None)
    other = Price(usd("1"), usd("2"), usd("1"), "litellm-9")
    row = view.model_view(shown, {}, PriceDifference("demo", TIERED, other, None))
    assert row.price == "$0.10 / $0.50"
    assert row.price_notes == [
        *price_lines(TIERED)[1:],
        "Differs from LiteLLM's map: $1 in, $2 out, $1 cached per 1M tokens (litellm-9)",
    ]
    assert view.model_view(shown, {}).price_notes == price_lines(TIERED)[1:]
