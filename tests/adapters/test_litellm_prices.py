"""Prices read from LiteLLM's map, against LiteLLM's own calculation, for every model that can be sold."""

from __future__ import annotations

import importlib
import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisaas.adapters import litellm_model
from aisaas.adapters.litellm_prices import find_entry, price_map, price_of, price_of_entry
from aisaas.prices import Price, Tokens

# Monday, 02:00: no provider's off-peak hours.
PEAK = datetime(2026, 11, 30, 2, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    litellm_model._import_litellm()  # pyright: ignore[reportPrivateUsage]


def upstream_of(name: str) -> str:
    """The name that LiteLLM is called with for an entry of its map."""
    provider = str(price_map()[name].get("litellm_provider", ""))
    for family in ("vertex_ai", "bedrock"):
        if provider.startswith(family) and provider != "bedrock_mantle":
            provider = family
    return name if name.startswith(f"{provider}/") else f"{provider}/{name}"


def sellable() -> Sequence[tuple[str, Price]]:
    found = {name: price_of(name) for name in map(upstream_of, price_map())}
    return [(name, price) for name, price in found.items() if price is not None]


SELLABLE = sellable()


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, Price, Tokens]:
    """A model, and any mix of kinds of tokens, with prompts around each tier's edge."""
    upstream, price = draw(st.sampled_from(SELLABLE))
    edges = [tier.above + by for tier in price.tiers for by in (-1, 0, 1, 2)]
    sizes = st.integers(1, 1_200_000)
    prompt = draw(st.one_of(sizes, st.sampled_from(edges)) if edges else sizes)
    cached = draw(st.integers(0, prompt))
    write = draw(st.integers(0, prompt - cached))
    audio = draw(st.integers(0, prompt - cached - write))
    completion = draw(st.integers(0, 200_000))
    thinking = draw(st.integers(0, completion))
    return (
        upstream,
        price,
        Tokens(
            prompt=prompt,
            completion=completion,
            cached=cached,
            cache_write=write,
            cache_write_1h=draw(st.integers(0, write)),
            thinking=thinking,
            audio_prompt=audio,
            audio_completion=draw(st.integers(0, completion - thinking)),
        ),
    )


def litellm_cost(upstream: str, tokens: Tokens) -> float:
    types = importlib.import_module("litellm.types.utils")
    calculation = importlib.import_module("litellm.litellm_core_utils.llm_cost_calc.utils")
    provider, _, model = upstream.partition("/")
    writes = types.CacheCreationTokenDetails(
        ephemeral_5m_input_tokens=tokens.cache_write - tokens.cache_write_1h,
        ephemeral_1h_input_tokens=tokens.cache_write_1h,
    )
    usage = types.Usage(
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        total_tokens=tokens.prompt + tokens.completion,
        prompt_tokens_details=types.PromptTokensDetailsWrapper(
            cached_tokens=tokens.cached,
            cache_creation_tokens=tokens.cache_write,
            cache_creation_token_details=writes,
            audio_tokens=tokens.audio_prompt,
        ),
        completion_tokens_details=types.CompletionTokensDetailsWrapper(
            reasoning_tokens=tokens.thinking, audio_tokens=tokens.audio_completion
        ),
    )
    prompt, completion = calculation.generic_cost_per_token(
        model=model, usage=usage, custom_llm_provider=provider, current_time=PEAK
    )
    return prompt + completion


def assert_same(upstream: str, price: Price, tokens: Tokens) -> None:
    ours, theirs = price.cost(tokens), litellm_cost(upstream, tokens)
    # Ours is exact, theirs is a sum of binary fractions.
    assert math.isclose(float(ours), theirs, rel_tol=1e-10, abs_tol=1e-15), (upstream, tokens)


@settings(max_examples=500)
@given(calls())
def test_cost_is_litellms_own_for_any_usage(call: tuple[str, Price, Tokens]) -> None:
    assert_same(*call)


def test_cost_is_litellms_own_for_every_model_and_tier() -> None:
    chance = random.Random(7)
    for upstream, price in SELLABLE:
        for above in (1_000, *(tier.above for tier in price.tiers)):
            prompt = above + 1
            cached, completion = chance.randint(0, prompt), chance.randint(0, 50_000)
            tokens = Tokens(
                prompt=prompt,
                completion=completion,
                cached=cached,
                cache_write=prompt - cached,
                cache_write_1h=(prompt - cached) // 3,
                thinking=completion // 2,
            )
            assert_same(upstream, price, tokens)


@settings(max_examples=500)
@given(calls(), st.integers(0, 100_000))
def test_worst_case_is_never_below_the_cost(call: tuple[str, Price, Tokens], more: int) -> None:
    _, price, tokens = call
    text = Tokens(
        tokens.prompt,
        tokens.completion,
        tokens.cached,
        tokens.cache_write,
        tokens.cache_write_1h,
        tokens.thinking,
        region=next((region for region, _ in price.regions), ""),
    )
    into, out = price.worst(tokens.prompt + more)
    assert price.cost(text) <= (tokens.prompt * into + tokens.completion * out) / 1_000_000


def test_most_chat_models_of_the_map_have_a_price() -> None:
    chat = [entry for entry in price_map().values() if entry.get("mode") == "chat"]
    assert len(SELLABLE) > 0.85 * len(chat)
    assert len([price for _, price in SELLABLE if price.tiers]) > 200
    assert {tier.above for _, price in SELLABLE for tier in price.tiers} >= {
        100_000,
        200_000,
        272_000,
        512_000,
    }


def test_long_prompt_is_priced_by_its_tier() -> None:
    haiku = price_of("anthropic/claude-haiku-5-5")
    assert haiku is not None
    assert haiku.cost(Tokens(150_000, 100)) == Decimal("0.07525")
    assert haiku.cost(Tokens(100_000, 100)) == Decimal("0.01005")
    assert haiku.cost(Tokens(100_001, 100)) == Decimal("0.0502505")


def test_write_to_the_cache_is_priced_as_a_write() -> None:
    haiku = price_of("anthropic/claude-haiku-5-5")
    assert haiku is not None
    assert haiku.cost(Tokens(10_000, 0, cache_write=10_000)) == Decimal("0.00125")
    assert haiku.cost(Tokens(10_000, 0, cache_write=10_000, cache_write_1h=10_000)) == Decimal(
        "0.002"
    )
    # A region's factor applies when the provider says that it answered there.
    assert haiku.cost(Tokens(10_000, 0, region="us")) == Decimal("0.0011")


@pytest.mark.parametrize(
    "upstream",
    [
        "openai/no-such-model",
        # Another provider's model of that name may have another price.
        "groq/claude-haiku-5-5",
        # Its price isn't one for each token.
        "perplexity/sonar",
        "openai/gpt-4o-search-preview",
        "dashscope/qwen3-max",
        # Not a chat.
        "openai/text-embedding-3-small",
        # The map says 0, which is no price.
        "gemini/gemini-exp-1206",
    ],
)
def test_what_the_map_does_not_price_by_the_token_has_no_price(upstream: str) -> None:
    assert price_of(upstream) is None


def test_server_that_speaks_openais_protocol_is_priced_by_the_models_name() -> None:
    found = find_entry("openai/claude-haiku-5-5")
    assert found is not None
    assert price_of("openai/claude-haiku-5-5") == price_of_entry(*found)


@given(st.sampled_from(SELLABLE))
def test_stored_price_is_read_back_as_it_was(sold: tuple[str, Price]) -> None:
    assert Price.from_dict(sold[1].to_dict()) == sold[1]
