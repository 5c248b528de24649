"""What a call costs, by kind of token and tier."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from aisaas.prices import Price, Rates, Tier, Tokens

rates = st.decimals(0, 1000, places=6)


def usd(amount: str) -> Decimal:
    return Decimal(amount)


PRICE = Price(
    usd("2"),
    usd("10"),
    usd("0.2"),
    "list-1",
    cache_write_usd=usd("2.5"),
    cache_write_1h_usd=usd("4"),
    thinking_usd=usd("12"),
    tiers=(
        Tier(
            200_000,
            Rates(
                usd("4"), usd("15"), usd("0.4"), usd("5"), usd("8"), usd("12"), usd("4"), usd("15")
            ),
        ),
    ),
    regions=(("us", usd("1.1")),),
)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    maybe = st.none() | rates
    tiers = sorted(draw(st.sets(st.integers(1, 1_000_000), max_size=3)))
    return Price(
        draw(rates),
        draw(rates),
        draw(rates),
        draw(st.text("abc-", min_size=1, max_size=9)),
        cache_write_usd=draw(maybe),
        cache_write_1h_usd=draw(maybe),
        thinking_usd=draw(maybe),
        tiers=tuple(Tier(above, Rates(*(draw(rates) for _ in range(8)))) for above in tiers),
        regions=draw(st.sampled_from([(), (("us", usd("1.1")),)])),
    )


@given(prices())
def test_stored_price_costs_the_same(price: Price) -> None:
    again = Price.from_dict(price.to_dict())
    assert again == price
    assert again.digest == price.digest


def test_price_of_the_release_before_can_still_be_read() -> None:
    held = {
        "input_usd": "0.15",
        "output_usd": "0.60",
        "cached_input_usd": "0.075",
        "version": "old",
    }
    assert Price.from_dict(held) == Price(usd("0.15"), usd("0.60"), usd("0.075"), "old")


@given(prices(), prices())
def test_digest_names_what_a_price_says_and_nothing_else(one: Price, two: Price) -> None:
    assert one.costs_as(replace(one, version="another"))
    # What isn't named is what it falls back to.
    assert one.costs_as(
        replace(one, **{n: getattr(one.base, n) for n in ("cache_write_usd", "thinking_usd")})
    )
    same = one.base == two.base and one.tiers == two.tiers and one.regions == two.regions
    assert one.costs_as(two) == same


def test_each_kind_has_its_rate() -> None:
    million = 100_000
    tokens = Tokens(
        4 * million // 4, million, cached=10_000, cache_write=30_000, cache_write_1h=20_000
    )
    expected = (60_000 * 2 + 10_000 * usd("0.2") + 10_000 * usd("2.5") + 20_000 * 4) / 1_000_000
    assert PRICE.cost(tokens) == expected + million * 10 / usd("1000000")
    assert PRICE.cost(replace(tokens, thinking=million)) == expected + million * 12 / usd("1000000")
    assert PRICE.cost(replace(tokens, region="us")) == PRICE.cost(tokens) * usd("1.1")
    assert PRICE.cost(replace(tokens, region="eu")) == PRICE.cost(tokens)


def test_tier_prices_every_token_of_a_longer_prompt() -> None:
    assert PRICE.cost(Tokens(200_000, 100)) == usd("0.401")
    assert PRICE.cost(Tokens(200_001, 100)) == usd("0.801504")


@given(prices(), st.integers(0, 1_200_000), st.integers(0, 100_000), st.data())
def test_call_cut_to_fewer_tokens_is_still_a_call(
    price: Price, prompt: int, completion: int, data: st.DataObject
) -> None:
    cached = data.draw(st.integers(0, prompt))
    write = data.draw(st.integers(0, prompt - cached))
    tokens = Tokens(
        prompt, completion, cached, write, data.draw(st.integers(0, write)), completion // 2
    )
    most = data.draw(st.integers(0, prompt)), data.draw(st.integers(0, completion))
    cut = tokens.within(*most)
    assert (cut.prompt, cut.completion) == most
    assert cut.cached + cut.cache_write <= cut.prompt
    assert cut.cache_write_1h <= cut.cache_write
    assert cut.thinking <= cut.completion
    assert tokens.within(prompt, completion) == tokens
    into, out = price.worst(cut.prompt)
    assert price.cost(cut) <= (cut.prompt * into + cut.completion * out) / 1_000_000


def test_own_price_keeps_the_proportions_of_the_listed_one() -> None:
    own = PRICE.rescaled(
        input_usd=usd("1"), output_usd=usd("20"), cached_input_usd=usd("0.1"), version="admin-1"
    )
    assert (own.cache_write_usd, own.cache_write_1h_usd, own.thinking_usd) == (usd("1.25"), 2, 24)
    (tier,) = own.tiers
    assert tier.above == 200_000
    assert (tier.rates.input_usd, tier.rates.output_usd, tier.rates.cached_input_usd) == (
        2,
        30,
        usd("0.2"),
    )
    same = PRICE.rescaled(
        input_usd=usd("2"), output_usd=usd("10"), cached_input_usd=usd("0.2"), version="admin-2"
    )
    assert same.costs_as(PRICE)


def test_own_price_beside_a_listed_price_of_nothing_is_flat() -> None:
    own = Price(usd("0"), usd("0"), usd("0"), "own-machine").rescaled(
        input_usd=usd("1"), output_usd=usd("2"), cached_input_usd=usd("0.5"), version="admin-1"
    )
    assert own.costs_as(Price(usd("1"), usd("2"), usd("0.5"), "admin-1"))
