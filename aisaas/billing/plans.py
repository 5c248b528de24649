"""Plans as data: what each allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisaas.ports import RateLimits
from aisaas.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """`tokens_per_month` are quota tokens: a model's tokens times its weight."""

    id: str
    label: str
    rates: RateLimits
    tokens_per_month: int
    parallel_replies: int
    # Paid usage goes to the meter; the free tier is bounded by its own daily cap instead.
    metered: bool


def plans(settings: Settings) -> Mapping[str, Plan]:
    listed = (
        Plan(
            id="free",
            label="Free",
            rates=RateLimits(settings.free_requests_per_minute, settings.free_requests_per_day),
            tokens_per_month=settings.free_tokens_per_month,
            parallel_replies=settings.free_parallel_replies,
            metered=False,
        ),
        Plan(
            id="pro",
            label="Pro",
            rates=RateLimits(settings.pro_requests_per_minute, settings.pro_requests_per_day),
            tokens_per_month=settings.pro_tokens_per_month,
            parallel_replies=settings.pro_parallel_replies,
            metered=True,
        ),
    )
    return {plan.id: plan for plan in listed}
