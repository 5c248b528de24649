"""The models on sale: what the file leaves out follows from the pinned map, by documented rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aisaas.adapters.litellm_facts import facts_of
from aisaas.adapters.litellm_prices import entry_of, price_of
from aisaas.adapters.litellm_reasoning import reasoning_of
from aisaas.billing.plans.terms import FREE, plans
from aisaas.chat.catalogue import BUNDLED, Catalogue, load_catalogue
from aisaas.errors import ConfigurationError
from aisaas.prices import QUOTA_TOKEN_USD, Price, usual_usd, weight_of
from aisaas.providers import ModelProvider
from aisaas.settings import Settings
from tests.settings.test_providers import ALONE

ENTRIES: list[dict[str, Any]] = json.loads(BUNDLED.read_text())
PLANS = ("free", "pro", "business")
THIS_MONTHS = (
    *("gpt-6.1-sol", "gpt-6-luna", "gpt-6-astra", "claude-opus-5-5", "claude-sonnet-5-5"),
    *("claude-haiku-5-5", "gemini-3.8-flash", "gemini-3.1-pro"),
)
RETIRED = ("gpt-4o-mini", "gpt-4o", "gpt-5.4-mini", "claude-haiku-4-5", "claude-sonnet-4-6")


def load(path: Path | None = None, providers: Sequence[str] = (), **settings: Any) -> Catalogue:
    config = Settings.model_construct(model_catalogue=path, **settings)
    config._file_providers = tuple(
        ModelProvider(name, name, name) for name in providers or tuple(ALONE)
    )
    return load_catalogue(
        config, price_of, PLANS, lambda name: reasoning_of(name, entry_of(name)), facts_of
    )


def written(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "catalogue.json"
    path.write_text(json.dumps(entries))
    return path


def entry(name: str, **own: Any) -> dict[str, Any]:
    plain = {"label": name, "provider": "openai", "upstream": f"openai/{name}", "plans": PLANS}
    return {"id": name} | plain | own


def test_models_of_this_month_are_on_sale_with_what_the_map_says() -> None:
    catalogue = load()
    for name in THIS_MONTHS:
        model = catalogue.find(name, "business")
        assert model is not None, name
        known = entry_of(model.upstream)
        assert model.price == price_of(model.upstream)
        assert model.max_output == known["max_output_tokens"]
        assert 100_000 <= model.context_window <= known["max_input_tokens"]
        assert model.abilities == {"thinking", "vision", "files", "tools"}
        assert not model.retired


def test_no_weight_but_the_demos_is_typed() -> None:
    assert {each["provider"] for each in ENTRIES if "weight" in each} == {"demo"}


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("gpt-6-luna", 1),
        ("claude-haiku-5-5", 1),
        ("gemini-3.8-flash", 5),
        ("gpt-6.1-sol", 14),
        ("claude-sonnet-5-5", 14),
        ("gemini-3.1-pro", 15),
        ("claude-opus-5-5", 27),
        ("gpt-6-astra", 67),
        # As they were typed by hand before.
        ("gpt-4o-mini", 1),
        ("gpt-4o", 15),
        ("gpt-5.4-mini", 6),
        ("claude-haiku-4-5", 7),
        ("claude-sonnet-4-6", 20),
    ],
)
def test_weights_follow_from_prices(name: str, weight: int) -> None:
    model = load().find(name, "business")
    assert model is not None
    assert model.weight == weight


@pytest.mark.parametrize(
    ("into", "out", "weight"),
    [("0", "0", 1), ("0.30", "0.30", 1), ("0.31", "0.31", 2), ("0.60", "0.60", 2), ("9", "9", 30)],
)
def test_a_quota_token_never_costs_more_than_the_rule_says(
    into: str, out: str, weight: int
) -> None:
    price = Price(Decimal(into), Decimal(out), Decimal(into), "test")
    assert weight_of(price) == weight
    assert usual_usd(price) / weight_of(price) <= QUOTA_TOKEN_USD


def test_a_window_ends_where_a_dearer_tier_begins(tmp_path: Path) -> None:
    catalogue = load()
    windows = {name: catalogue.get(name) for name in ("claude-haiku-5-5", "claude-opus-5-5")}
    assert windows["claude-haiku-5-5"] is not None
    assert windows["claude-opus-5-5"] is not None
    assert windows["claude-haiku-5-5"].context_window == 100_000
    assert windows["claude-opus-5-5"].context_window == 1_000_000
    typed = load(written(tmp_path, entry("gpt-6-luna", context_window=900_000))).get("gpt-6-luna")
    assert typed is not None
    assert typed.context_window == 900_000


@pytest.mark.parametrize("provider", [name for name in ALONE if name not in {"azure", "ollama"}])
def test_any_one_provider_has_something_cheap_for_the_free_plan(provider: str) -> None:
    default = load(providers=[provider]).default_for(FREE)
    assert default.provider == provider
    assert default.weight <= 6


def test_the_free_plan_starts_with_the_cheapest_weight() -> None:
    assert load().default_for(FREE).weight == 1
    assert load(providers=["demo"]).default_for(FREE).id == "demo"
    assert set(plans(Settings.model_construct())) == set(PLANS)


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**settings)
    (problem,) = caught.value.problems
    assert problem.startswith("MODEL_CATALOGUE: ")
    assert "set MODEL_CATALOGUE to its path" in problem
    assert "models discover" in problem
    return problem


def example_in(text: str) -> list[dict[str, Any]]:
    """The JSON list that a text has somewhere."""
    found, _ = json.JSONDecoder().raw_decode(text[text.index("[{") :])
    return found


def test_azure_alone_says_what_to_write_and_that_works(tmp_path: Path) -> None:
    (example,) = example_in(refusal(providers=["azure"]))
    assert example["upstream"] == "azure/YOUR-DEPLOYMENT"
    example["upstream"] = "azure/chat-of-ours"
    catalogue = load(written(tmp_path, example), providers=["azure"])
    for plan in PLANS:
        model = catalogue.default_for(plan)
        assert (model.provider, model.upstream) == ("azure", "azure/chat-of-ours")
        assert model.price == price_of("azure/gpt-5")
        assert model.context_window > 100_000


def test_a_server_of_ones_own_says_what_to_write_and_that_works(tmp_path: Path) -> None:
    (example,) = example_in(refusal(providers=["hosted_vllm"]))
    catalogue = load(written(tmp_path, example), providers=["hosted_vllm"])
    assert catalogue.default_for(FREE).price.output_usd == 4


def test_the_docs_example_of_azure_works(tmp_path: Path) -> None:
    text = (BUNDLED.parents[2] / "docs" / "providers.md").read_text()
    (example,) = example_in(text)
    assert load(written(tmp_path, example), providers=["azure"]).default_for(FREE).id == "chat"


# Retired


def test_retired_models_are_not_offered_and_name_their_successor() -> None:
    catalogue = load()
    for name in RETIRED:
        model = catalogue.find(name, "business")
        assert model is not None
        assert model.retired
        assert model not in catalogue.for_plan("business")
        succession = catalogue.succession(name)
        assert succession is not None
        assert succession.label == model.label
        assert succession.successor is not None
        assert not succession.successor.retired
        # Where a chain still names it, the successor answers.
        assert catalogue.with_fallbacks(model)[1] == succession.successor


def test_what_is_not_retired_has_no_successor() -> None:
    catalogue = load()
    assert catalogue.succession("gpt-6-luna") is None
    assert catalogue.succession("a-model-that-is-gone") is None


def successor(catalogue: Catalogue, name: str) -> str | None:
    found = catalogue.succession(name)
    assert found is not None
    return found.successor.id if found.successor is not None else None


def test_a_successor_that_is_retired_by_now_leads_on_to_its_own(tmp_path: Path) -> None:
    a, b, c = "gpt-4o", "gpt-4o-mini", "gpt-6-luna"
    retired = {"retired": True}
    path = written(
        tmp_path,
        entry(a, successor=b, **retired),
        entry(b, successor=c, **retired),
        entry(c),
        entry("gpt-5.4-mini", **retired),
        entry("gpt-6-astra", successor="nobody", **retired),
        entry("gpt-6.1-sol", successor="claude", **retired),
        entry("claude", upstream="openai/gpt-5", successor="gpt-6.1-sol", **retired),
    )
    catalogue = load(path)
    assert successor(catalogue, a) == c
    assert successor(catalogue, b) == c
    # None was named, it isn't there, and two that name each other.
    for name in ("gpt-5.4-mini", "gpt-6-astra", "gpt-6.1-sol", "claude"):
        assert successor(catalogue, name) is None


def test_a_retired_model_answers_in_nobodys_place(tmp_path: Path) -> None:
    a, b, c = "gpt-6-luna", "gpt-4o-mini", "gpt-6.1-sol"
    path = written(tmp_path, entry(a, fallbacks=[b]), entry(b, retired=True, successor=c), entry(c))
    assert ids(load(path), a) == [a, c]


# Fallbacks


def ids(catalogue: Catalogue, name: str) -> list[str]:
    model = catalogue.get(name)
    assert model is not None
    return [each.id for each in catalogue.with_fallbacks(model)]


def test_a_chain_is_in_the_order_of_the_file(tmp_path: Path) -> None:
    a, b, c, d = "gpt-6-luna", "gpt-6.1-sol", "gpt-6-astra", "gpt-4o-mini"
    path = written(
        tmp_path,
        entry(a, fallbacks=[c, b]),
        entry(b, fallback=a),
        entry(c, fallbacks=[d, a]),
        entry(d),
    )
    assert ids(load(path), a) == [a, c, b, d]
    assert ids(load(path), b) == [b, a, c, d]


def test_the_operators_order_replaces_the_files() -> None:
    order = ("claude-haiku-5-5", "gemini-3.8-flash", "gpt-6-luna", "not-sold-here")
    catalogue = load(fallback_models=order)
    assert ids(catalogue, "gpt-6.1-sol") == ["gpt-6.1-sol", *order[:3]]
    assert ids(catalogue, "gpt-6-luna") == ["gpt-6-luna", *order[:2]]


# What is wrong with a file


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"upstream": "openai/nobody-knows"}, "no price"),
        ({"upstream": "openai/x", "price": {"input_usd": 1, "output_usd": 1}}, "context_window"),
        ({"provider": "not-described"}, "MODEL_PROVIDERS"),
        ({"id": "with space"}, "can't be used"),
    ],
)
def test_what_the_map_does_not_know_is_asked_for(
    own: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(written(tmp_path, entry("gpt-6-luna") | own, entry("gpt-4o-mini")))


def test_a_name_of_the_operators_own_is_what_the_map_calls_otherwise(tmp_path: Path) -> None:
    own = {"provider": "azure", "upstream": "azure/chat-of-ours", "map_name": "azure/gpt-5"}
    model = load(written(tmp_path, entry("ours", **own)), providers=["azure"]).get("ours")
    assert model is not None
    assert model.price == price_of("azure/gpt-5")
    assert (model.upstream, model.known_as) == ("azure/chat-of-ours", "azure/gpt-5")
    assert model.context_window == entry_of("azure/gpt-5")["max_input_tokens"]
