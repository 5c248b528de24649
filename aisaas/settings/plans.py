"""The plans with their defaults, the cheapest first. A plan is an entry of `PLANS`, and each of its
values a variable: `tokens_per_month` of the plan `pro` is PRO_TOKENS_PER_MONTH.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import Field, create_model

from aisaas.settings.base import FieldGroup

AtLeastOne = Annotated[int, Field(ge=1)]
Tokens = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What a plan allows."""

    requests_per_minute: AtLeastOne
    requests_per_day: AtLeastOne
    tokens_per_month: Tokens
    parallel_replies: AtLeastOne


@dataclass(frozen=True, slots=True)
class PlanPricing:
    """What a paid plan costs."""

    base_usd: Annotated[Decimal, Field(gt=0, max_digits=8, decimal_places=2)]
    overage_usd_per_million: Annotated[Decimal, Field(gt=0, max_digits=10, decimal_places=4)]
    overage_cap_usd: Annotated[Decimal, Field(ge=0, max_digits=8, decimal_places=2)]
    trial_days: Annotated[int, Field(ge=0, le=730)]
    trial_tokens: Tokens


@dataclass(frozen=True, slots=True)
class PlanSettings:
    id: str
    label: str
    limits: PlanLimits
    pricing: PlanPricing | None = None


Group = TypeVar("Group", PlanLimits, PlanPricing)


PLANS = (
    PlanSettings(
        "free",
        "Free",
        PlanLimits(
            requests_per_minute=10,
            requests_per_day=100,
            tokens_per_month=10_000,
            parallel_replies=3,
        ),
    ),
    PlanSettings(
        "pro",
        "Pro",
        PlanLimits(
            requests_per_minute=30,
            requests_per_day=2_000,
            tokens_per_month=2_000_000,
            parallel_replies=3,
        ),
        PlanPricing(
            base_usd=Decimal(20),
            overage_usd_per_million=Decimal(10),
            overage_cap_usd=Decimal(20),
            trial_days=14,
            trial_tokens=200_000,
        ),
    ),
    PlanSettings(
        "business",
        "Business",
        PlanLimits(
            requests_per_minute=60,
            requests_per_day=10_000,
            tokens_per_month=12_000_000,
            parallel_replies=6,
        ),
        PlanPricing(
            base_usd=Decimal(100),
            overage_usd_per_million=Decimal(8),
            overage_cap_usd=Decimal(100),
            trial_days=0,
            trial_tokens=0,
        ),
    ),
)


def _groups(plan: PlanSettings) -> Iterator[PlanLimits | PlanPricing]:
    yield plan.limits
    if plan.pricing is not None:
        yield plan.pricing


def _fields() -> dict[str, Any]:
    """A flat field for each value of each plan, with its bounds and its default."""
    return {
        f"{plan.id}_{name}": (annotation, getattr(group, name))
        for plan in PLANS
        for group in _groups(plan)
        for name, annotation in get_type_hints(type(group), include_extras=True).items()
    }


_FlatFields = create_model("_FlatFields", __base__=FieldGroup, __module__=__name__, **_fields())


class PlanFields(_FlatFields):
    @property
    def plans(self) -> tuple[PlanSettings, ...]:
        """`PLANS` with the values of this environment."""
        return tuple(
            replace(
                plan,
                limits=self._set(plan.id, plan.limits),
                pricing=self._set(plan.id, plan.pricing) if plan.pricing else None,
            )
            for plan in PLANS
        )

    def _set(self, plan: str, group: Group) -> Group:
        return replace(
            group, **{each.name: getattr(self, f"{plan}_{each.name}") for each in fields(group)}
        )
