"""How amounts read: money, and how much of something is used. Pure functions."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

from aisaas.billing.plans.terms import PlanPrice
from aisaas.billing.reservations.models import Allowance
from aisaas.billing.subscriptions.checkout import cents

FULL, NEARLY_FULL, RUNNING_LOW = 100, 90, 80
# From which percentage on, its colour, and its words.
LINES = (
    (FULL, "full", "used up"),
    (NEARLY_FULL, "near", "nearly used up"),
    (RUNNING_LOW, "near", "running low"),
)


@dataclasses.dataclass(frozen=True)
class GaugeView:
    """How much of something is used. `percent` is of the bar's length, so it never passes 100;
    `line` is the highest of LINES that is reached, or 0."""

    percent: int = 0
    line: int = 0
    level: str = "calm"
    words: str = ""


def gauge(used: int, limit: int) -> GaugeView:
    """Of nothing, everything is used."""
    percent = FULL if used >= limit else max(used, 0) * FULL // limit
    for line, level, words in LINES:
        if percent >= line:
            said = words.capitalize() if line == FULL else f"{percent}% used, {words}"
            return GaugeView(percent, line, level, said)
    return GaugeView(
        percent, words="Less than 1% used" if used > percent == 0 else f"{percent}% used"
    )


def without_extra(allowance: Allowance) -> int:
    """Tokens of the period that cost nothing extra: what is included, and credits."""
    return max(allowance.included, 0) + allowance.credits


def included(allowance: Allowance) -> GaugeView:
    """How much of the usage at no extra cost is used. Past its end, usage continues if more is
    allowed."""
    found = gauge(allowance.used, without_extra(allowance))
    if found.line == FULL and allowance.overage > 0:
        return dataclasses.replace(found, level="near", words="Used up. Extra usage is charged.")
    return found


def costs_extra(allowance: Allowance) -> bool:
    """Whether the next token does."""
    return allowance.overage > 0 and allowance.used >= without_extra(allowance)


def spent(allowance: Allowance) -> Decimal:
    """USD charged in the period as extra usage, in whole cents."""
    return cents(allowance.billed_usd)


def cap(allowance: Allowance, price: PlanPrice) -> Decimal:
    """USD that may be spent like this in the period, as far as it holds now."""
    return cents(price.usd_for(allowance.overage) + allowance.carried_usd)
