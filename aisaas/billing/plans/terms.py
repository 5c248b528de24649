"""Plans as data: what each allows, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from aisaas.billing.plans.models import RateLimits
from aisaas.settings import Settings
from aisaas.settings.plans import PlanSettings

FREE = "free"
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """USD a month, and USD per million quota tokens beyond those included.

    `default_cap_usd` bounds what a user spends beyond the base price in a period until they set a
    cap of their own. A trial has `trial_tokens` and nothing beyond them.
    """

    base_usd: Decimal
    overage_usd_per_million: Decimal
    default_cap_usd: Decimal
    trial_days: int
    trial_tokens: int

    def tokens_for(self, usd: Decimal) -> int:
        """Quota tokens that so much money buys beyond those included."""
        return int((usd / self.overage_usd_per_million * MILLION).to_integral_value(ROUND_FLOOR))

    def usd_for(self, tokens: int) -> Decimal:
        """What so many quota tokens cost beyond those included, unrounded."""
        return tokens * self.overage_usd_per_million / MILLION


@dataclass(frozen=True, slots=True)
class Plan:
    """`tokens_per_month` are quota tokens (a model's tokens times its weight); they are included in
    the price of a paid plan, and all there is on the free one, which has no price."""

    id: str
    label: str
    rates: RateLimits
    tokens_per_month: int
    parallel_replies: int
    price: PlanPrice | None = None

    @property
    def metered(self) -> bool:
        """Paid usage goes to the meter; the free tier is bounded by its own daily cap instead."""
        return self.price is not None


def plans(settings: Settings) -> Mapping[str, Plan]:
    """By id, the cheapest first."""
    return {each.id: _plan(each) for each in settings.plans}


def _plan(of: PlanSettings) -> Plan:
    limits, pricing = of.limits, of.pricing
    return Plan(
        id=of.id,
        label=of.label,
        rates=RateLimits(limits.requests_per_minute, limits.requests_per_day),
        tokens_per_month=limits.tokens_per_month,
        parallel_replies=limits.parallel_replies,
        price=PlanPrice(
            base_usd=pricing.base_usd,
            overage_usd_per_million=pricing.overage_usd_per_million,
            default_cap_usd=pricing.overage_cap_usd,
            trial_days=pricing.trial_days,
            trial_tokens=pricing.trial_tokens,
        )
        if pricing is not None
        else None,
    )


@dataclass(frozen=True, slots=True)
class ExtraUsage:
    """The price of a million quota tokens beyond those included, and the most that a user without a
    cap of their own may spend on them in a period."""

    usd_per_million: Decimal
    default_cap_usd: Decimal


def extra_usage(sold: Mapping[str, Plan], plan: str) -> ExtraUsage:
    """A plan's extra usage; zero if nothing costs extra."""
    found = sold.get(plan)
    if found is None or found.price is None:
        return ExtraUsage(Decimal(0), Decimal(0))
    return ExtraUsage(found.price.overage_usd_per_million, found.price.default_cap_usd)
