"""Plans as cards: what each includes and costs, and what its button does. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from aisaas.billing.plans.models import BillingAccount
from aisaas.billing.plans.terms import FREE, Plan
from aisaas.billing.subscriptions.checkout import Billing, is_dearer
from aisaas.formats import count, moment, price, usd

TRIALING, PAST_DUE, CANCELLED = "trialing", "past_due", "cancelled"
# What a button of a plan does.
CHOOSE, SWITCH, KEEP, PORTAL, NOTHING = "choose", "switch", "keep", "portal", ""

# Labels of the models that a plan has.
Models = Callable[[str], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class OfferView:
    """A plan's card. `action` is what its button does; without a button, `note` says what can be done."""

    id: str
    label: str
    price: str
    includes: list[str]
    trial: str
    current: bool
    action: str
    button: str
    note: str
    title: str
    explanation: str


def price_of(plan: Plan) -> str:
    return f"{price(plan.price.base_usd)} a month" if plan.price else "$0"


def includes(plan: Plan, models: Sequence[str]) -> list[str]:
    beyond = "No card needed, no extra charges"
    if plan.price:
        beyond = f"Extra usage: {price(plan.price.overage_usd_per_million)} per 1M tokens, up to a cap you set"
    replies = "1 reply" if plan.parallel_replies == 1 else f"{plan.parallel_replies} replies"
    return [
        f"{plan.tokens_per_month:,} tokens a month",
        beyond,
        f"{plan.rates.per_minute:,} messages per minute, {plan.rates.per_day:,} per day",
        f"{replies} at a time",
        f"Models: {', '.join(models)}",
    ]


def offer_views(
    found: Billing, account: BillingAccount, plans: Mapping[str, Plan], models: Models
) -> list[OfferView]:
    """Every plan as a card, the free one first; none where nothing is sold."""
    if not found.offers:
        return []
    return [_offer(plan, found, account, models) for plan in (plans[FREE], *found.offers)]


def _offer(plan: Plan, found: Billing, account: BillingAccount, models: Models) -> OfferView:
    current = plan.id == found.plan.id
    trial = _trial(plan) if found.trial_possible and account.subscription is None else ""
    choice = _choice(plan, found, account, trial=bool(trial))
    title, explanation = _question(plan, found) if choice.action == SWITCH else ("", "")
    return OfferView(
        id=plan.id,
        label=plan.label,
        price=price_of(plan),
        includes=includes(plan, models(plan.id)),
        trial="" if current else trial,
        current=current,
        action=choice.action,
        button=choice.button,
        note=choice.note,
        title=title,
        explanation=explanation,
    )


def _trial(plan: Plan) -> str:
    if plan.price is None or plan.price.trial_days == 0:
        return ""
    return f"{plan.price.trial_days} days free, with {plan.price.trial_tokens:,} tokens"


@dataclasses.dataclass(frozen=True)
class _Choice:
    """What can be done about a plan: a button, or a sentence where there is none."""

    action: str = NOTHING
    button: str = ""
    note: str = ""


def _choice(plan: Plan, found: Billing, account: BillingAccount, *, trial: bool) -> _Choice:
    current, subscribed = plan.id == found.plan.id, account.subscription is not None
    if found.status == PAST_DUE:
        if plan.price is not None and not current:
            return _Choice(PORTAL, "Pay your open invoice first")
        return _Choice(note="Pay your open invoice to keep this plan." if current else "")
    if subscribed and found.ends_at is not None:
        # A subscription that is switched now would still end.
        if plan.price is None:
            return _Choice(note=f"Your account moves to this plan when {found.plan.label} ends.")
        return _Choice(PORTAL, "Resume plan" if current else "Resume your plan first")
    if subscribed and found.next_plan is not None:
        # A switch to come is taken back here; the portal changes nothing until it is.
        if current:
            return _Choice(KEEP, f"Keep {plan.label}")
        if plan.price is None:
            return _Choice(note=f"To cancel instead, keep {found.plan.label} first.")
        if plan.id == found.next_plan.id:
            return _Choice(note="You switch to this plan when the current period ends.")
    if found.status == TRIALING:
        if current:
            return _Choice(note="You're trying this plan. It continues when your trial ends.")
        if plan.price is not None and plan.price.trial_tokens == 0:
            # During a trial it would have no tokens.
            return _Choice(note=f"{plan.label} has no trial. You can switch when your trial ends.")
    if current:
        return _Choice()
    if plan.price is None:
        return _Choice(PORTAL, "Cancel subscription") if subscribed else _Choice()
    if subscribed:
        return _Choice(SWITCH, f"Switch to {plan.label}")
    return _Choice(CHOOSE, "Start free trial" if trial else f"Choose {plan.label}")


def _question(plan: Plan, found: Billing) -> tuple[str, str]:
    """The question before a switch. Prices are in proportion to the rest of the period."""
    assert plan.price is not None
    if found.status == TRIALING:
        said = "Your trial continues. You'll pay the new price when it ends."
    elif is_dearer(plan, found.plan):
        said = (
            "Your card is charged the difference for the rest of this period now, and you get the "
            "additional tokens in the same proportion. If the payment fails, your plan doesn't change."
            f"{_used_until_now(found)}"
        )
    else:
        said = (
            f"You keep {found.plan.label} until the current period ends, and aren't charged today. You "
            "can change your mind until then."
        )
    return f"Switch to {plan.label} for {price_of(plan)}?", said


def _used_until_now(found: Billing) -> str:
    """What an upgrade doesn't charge now, and when that is."""
    tokens = found.allowance.billed_tokens
    if not tokens:
        return ""
    return (
        f" Your extra usage so far, {usd(found.spent_usd)} for {count(tokens, 'token')}, keeps "
        f"{found.plan.label}'s price. You pay it with your next invoice on "
        f"{moment(found.allowance.period_end)}."
    )
