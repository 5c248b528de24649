"""Plans as cards: what each includes and costs, and what its button does. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from aisaas.accounts.models import Principal
from aisaas.billing.checkout import Billing
from aisaas.billing.plans import FREE, Plan
from aisaas.formats import price

TRIALING, PAST_DUE, CANCELLED = "trialing", "past_due", "cancelled"
# What a button of a plan does.
CHOOSE, SWITCH, PORTAL, NOTHING = "choose", "switch", "portal", ""

# Labels of the models that a plan has.
Models = Callable[[str], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class OfferView:
    """A plan's card; `action` is what its button does, and nothing without one."""

    id: str
    label: str
    price: str
    includes: list[str]
    trial: str
    current: bool
    action: str
    button: str
    title: str
    explanation: str


def price_of(plan: Plan) -> str:
    return f"{price(plan.price.base_usd)} a month" if plan.price else "$0"


def includes(plan: Plan, models: Sequence[str]) -> list[str]:
    beyond = "Nothing beyond them, and no card needed"
    if plan.price:
        beyond = (
            f"More for {price(plan.price.overage_usd_per_million)} a million, up to a cap you set"
        )
    replies = "1 reply" if plan.parallel_replies == 1 else f"{plan.parallel_replies} replies"
    return [
        f"{plan.tokens_per_month:,} tokens a month",
        beyond,
        f"{plan.rates.per_minute:,} messages a minute, {plan.rates.per_day:,} a day",
        f"{replies} at once",
        f"Models: {', '.join(models)}",
    ]


def offer_views(
    found: Billing, principal: Principal, plans: Mapping[str, Plan], models: Models
) -> list[OfferView]:
    """Every plan as a card, the free one first; none where nothing is sold."""
    if not found.offers:
        return []
    return [_offer(plan, found, principal, models) for plan in (plans[FREE], *found.offers)]


def _offer(plan: Plan, found: Billing, principal: Principal, models: Models) -> OfferView:
    current = plan.id == found.plan.id
    trial = _trial(plan) if found.trial_possible and principal.subscription is None else ""
    action, button = _action(plan, found, principal, trial=bool(trial))
    title, explanation = _question(plan, found) if action == SWITCH else ("", "")
    return OfferView(
        id=plan.id,
        label=plan.label,
        price=price_of(plan),
        includes=includes(plan, models(plan.id)),
        trial="" if current else trial,
        current=current,
        action=action,
        button=button,
        title=title,
        explanation=explanation,
    )


def _trial(plan: Plan) -> str:
    if plan.price is None or plan.price.trial_days == 0:
        return ""
    return f"{plan.price.trial_days} days free, with {plan.price.trial_tokens:,} tokens"


def _action(plan: Plan, found: Billing, principal: Principal, *, trial: bool) -> tuple[str, str]:
    """What a plan's button does, and its name."""
    current, subscribed = plan.id == found.plan.id, principal.subscription is not None
    if found.status == PAST_DUE:
        pays = plan.price is not None and not current
        return (PORTAL, "Pay what is open first") if pays else (NOTHING, "")
    if subscribed and found.ends_at is not None:
        # Whatever it is switched to would end as well.
        resume = "Resume in the portal" if current else "Resume in the portal first"
        return (PORTAL, resume) if plan.price else (NOTHING, "")
    if current or (found.status == TRIALING and plan.price and plan.price.trial_tokens == 0):
        # The trial of a plan that has none would have no tokens.
        return NOTHING, ""
    if plan.price is None:
        return (PORTAL, "Cancel in the portal") if subscribed else (NOTHING, "")
    if subscribed:
        return SWITCH, f"Switch to {plan.label}"
    return CHOOSE, "Start the trial" if trial else f"Choose {plan.label}"


def _question(plan: Plan, found: Billing) -> tuple[str, str]:
    """What is asked before a switch. Prices are in proportion to the rest of the period."""
    assert plan.price is not None
    present = found.plan.price
    if found.status == TRIALING:
        said = "The trial goes on as it is; the new price is charged from its end on."
    elif present is None or plan.price.base_usd > present.base_usd:
        said = (
            "The difference for the rest of this period is charged to your card now. If that "
            "doesn't work, your plan stays as it is."
        )
    else:
        said = (
            "It takes effect now. What you paid for the rest of this period is taken off your next "
            "invoice."
        )
    return f"Switch to {plan.label} for {price_of(plan)}?", said
