"""Each value of each plan is a variable of its own, and the table of plans is what is sold."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal

import pytest

from aisaas.billing.plans.terms import plans
from aisaas.errors import ConfigurationError
from aisaas.settings import Settings
from aisaas.settings.plans import PLANS, PlanSettings
from tests.settings.test_providers import read
from tests.settings.test_settings import DEVELOPMENT


def values(plan: PlanSettings) -> dict[str, int | Decimal]:
    return asdict(plan.limits) | (asdict(plan.pricing) if plan.pricing else {})


EACH = [(plan.id, name) for plan in PLANS for name in values(plan)]


def test_without_variables_plans_are_as_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, DEVELOPMENT)
    assert settings.plans == PLANS
    assert list(plans(settings)) == [plan.id for plan in PLANS]


def test_no_plan_has_a_variable_besides_its_values() -> None:
    named = {f"{plan}_{name}" for plan, name in EACH}
    prefixes = tuple(f"{plan.id}_" for plan in PLANS)
    others = {"free_tier_daily_usd"}
    assert {name for name in Settings.model_fields if name.startswith(prefixes)} == named | others


@pytest.mark.parametrize(("plan", "name"), EACH)
def test_a_variable_changes_one_value_of_one_plan(
    plan: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(monkeypatch, DEVELOPMENT | {f"{plan}_{name}".upper(): " 7 "})
    found = {each.id: values(each) for each in settings.plans}
    expected = {each.id: values(each) for each in PLANS}
    expected[plan][name] = 7
    assert found == expected


@pytest.mark.parametrize(
    ("name", "edge", "beyond"),
    [
        ("pro_base_usd", "0.01", "0"),
        ("pro_base_usd", "999999.99", "1000000"),
        ("pro_base_usd", "19.99", "19.999"),
        ("business_overage_usd_per_million", "0.0001", "0"),
        ("business_overage_cap_usd", "0", "-0.01"),
        ("business_trial_days", "730", "731"),
        ("pro_trial_tokens", "0", "-1"),
        ("free_tokens_per_month", "0", "-1"),
        ("free_requests_per_day", "1", "0"),
        ("free_parallel_replies", "1", "0"),
    ],
)
def test_bounds_of_plans_hold_at_their_edges(
    name: str, edge: str, beyond: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(read(monkeypatch, DEVELOPMENT | {name.upper(): edge}), name) == Decimal(edge)
    with pytest.raises(ConfigurationError, match=f"{name.upper()}: "):
        read(monkeypatch, {name.upper(): beyond})
