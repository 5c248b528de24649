"""From billing data to what its page, the banner and the notices show of plan and period. Pure
functions."""

from __future__ import annotations

import dataclasses

from aisaas.billing.plans.models import BillingAccount
from aisaas.billing.plans.terms import Plan
from aisaas.billing.reservations.models import Allowance
from aisaas.billing.subscriptions.checkout import Billing
from aisaas.formats import count, price, usd
from aisaas.ui import amounts
from aisaas.ui.amounts import GaugeView, gauge
from aisaas.ui.billing.offers import CANCELLED, PAST_DUE, TRIALING, Models, includes, price_of


@dataclasses.dataclass(frozen=True)
class DatedView:
    """A sentence around a moment (ISO 8601), which the browser writes in its own time zone."""

    before: str = ""
    at: str = ""
    after: str = ""


@dataclasses.dataclass(frozen=True)
class PlanView:
    """The present plan. `standing` is its state for the stylesheet: calm, ending or due."""

    id: str = ""
    label: str = ""
    price: str = ""
    status: DatedView = DatedView()
    standing: str = "calm"
    includes: list[str] = dataclasses.field(default_factory=list[str])
    manageable: bool = False
    # Whether it costs something, so that there is something to cap.
    paid: bool = False


@dataclasses.dataclass(frozen=True)
class UsageView:
    """The period. Usage beyond the allowance is shown where it is allowed."""

    used: str = ""
    limit: str = ""
    included: GaugeView = dataclasses.field(default_factory=GaugeView)
    credits: str = ""
    left: str = ""
    held: str = ""
    ends_at: str = ""
    beyond: bool = False
    beyond_tokens: str = ""
    spent: str = ""
    cap: str = ""
    overage: GaugeView = dataclasses.field(default_factory=GaugeView)


@dataclasses.dataclass(frozen=True)
class CapView:
    """The spending cap in force; `value` is it as one types it."""

    current: str = ""
    value: str = ""
    own: bool = False
    default: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class NearView:
    """A line that use has reached; `key` names it, so that it is dismissed once."""

    key: str = ""
    sentence: str = ""
    level: str = "calm"


# The plan


def plan_view(found: Billing, account: BillingAccount, models: Models) -> PlanView:
    paid = found.plan.price is not None
    owing = found.status == PAST_DUE
    return PlanView(
        id=found.plan.id,
        label=found.plan.label,
        price=price_of(found.plan),
        status=_status(found, account),
        standing="due" if owing else "ending" if paid and found.ends_at else "calm",
        includes=_present(found, account, models),
        manageable=found.has_customer,
        paid=paid,
    )


def _status(found: Billing, account: BillingAccount) -> DatedView:
    label, ends = found.plan.label, found.ends_at.isoformat() if found.ends_at else ""
    renews = found.allowance.period_end.isoformat()
    if found.plan.price is None:
        return _status_of_nothing(found.status)
    if found.status == PAST_DUE:
        return DatedView(f"Your last payment failed. You keep {label} until", ends, ".")
    if ends:
        trial = "Trial canceled. It" if found.status == TRIALING else f"Canceled. {label}"
        return DatedView(f"{trial} ends on", ends, ".")
    if found.next_plan is not None:
        return DatedView(f"You switch from {label} to {found.next_plan.label} on", renews, ".")
    if account.subscription is None:
        return DatedView(f"You have {label} for free.")
    if found.status == TRIALING:
        return DatedView("Trial until", renews, f", then {price_of(found.plan)}.")
    return DatedView("Active. Renews on", renews, ".")


def _status_of_nothing(status: str) -> DatedView:
    if status == PAST_DUE:
        return DatedView(
            "A payment failed and your plan has ended. Pay the open invoice to restore it."
        )
    if status == CANCELLED:
        return DatedView("Your subscription has ended. You won't be charged again.")
    return DatedView("You're on the free plan.")


def _present(found: Billing, account: BillingAccount, models: Models) -> list[str]:
    """What the plan includes, as it is for this account now."""
    own, lines = found.allowance.included, includes(found.plan, models(found.plan.id))
    if found.status == TRIALING and found.plan.price:
        return [f"{own:,} tokens during the trial, then {lines[0]}", *lines[1:]]
    granted = account.subscription
    if granted is not None and own == granted.period_tokens:
        return [f"{own:,} tokens this period, then {lines[0]}", *lines[1:]]
    if own != found.plan.tokens_per_month:
        return [f"{own:,} tokens a month, set for your account", *lines[1:]]
    return lines


def due_view(account: BillingAccount, plan: Plan) -> DatedView:
    """What the banner says of a payment that failed; empty without one."""
    if account.subscription_status != PAST_DUE:
        return DatedView()
    ends = account.plan_ends_at
    if plan.price is None or ends is None:
        return DatedView("Your last payment failed and your plan has ended.")
    return DatedView(
        f"Your last payment failed. You keep {plan.label} until", ends.isoformat(), "."
    )


# The period


def usage_view(found: Billing) -> UsageView:
    allowance = found.allowance
    free_of_charge = amounts.without_extra(allowance)
    shown = UsageView(
        used=f"{min(allowance.used, free_of_charge):,}",
        limit=f"{free_of_charge:,}",
        included=amounts.included(allowance),
        credits=f"{allowance.credits:,}" if allowance.credits else "",
        left=f"{max(free_of_charge - allowance.used - allowance.reserved, 0):,}",
        held=f"{allowance.reserved:,}",
        ends_at=allowance.period_end.isoformat(),
    )
    if found.plan.price is None or (allowance.overage == 0 and allowance.billed_tokens == 0):
        return shown
    return dataclasses.replace(
        shown,
        beyond=True,
        beyond_tokens=count(allowance.billed_tokens, "token"),
        spent=usd(found.spent_usd),
        cap=usd(found.cap_usd),
        overage=_overage(allowance),
    )


def _overage(allowance: Allowance) -> GaugeView:
    if allowance.overage == 0:
        return GaugeView(words="Extra usage is off")
    return gauge(allowance.beyond, allowance.overage)


def near_view(allowance: Allowance, plan: Plan) -> NearView:
    """The line of 80, 90 or 100 % that was reached last, of the allowance or of the spending cap."""
    extra = allowance.overage > 0 and plan.price is not None
    if extra and amounts.costs_extra(allowance):
        return _near_cap(allowance, plan)
    found = gauge(allowance.used, amounts.without_extra(allowance))
    if found.level == "calm":
        return NearView()
    whose = f"the tokens in {plan.label}" if extra else "your tokens for this period"
    said = f"You've used {found.line}% of {whose}."
    if found.level == "full":
        said = "You've used all your tokens for this period."
    elif extra and plan.price:
        said += f" After that, {_beyond(allowance, plan)}"
    return NearView(f"{allowance.period_key} included {found.line}", said, found.level)


def _near_cap(allowance: Allowance, plan: Plan) -> NearView:
    found = gauge(allowance.beyond, allowance.overage)
    assert plan.price is not None
    cap = usd(amounts.cap(allowance, plan.price))
    if found.level == "full":
        said = f"You've reached your spending cap of {cap}."
    elif found.level == "calm":
        said = (
            f"You've used all the tokens in {plan.label}. From now on, {_beyond(allowance, plan)}"
        )
    else:
        said = f"You've used {found.line}% of your spending cap of {cap}."
    level = "near" if found.level == "calm" else found.level
    return NearView(f"{allowance.period_key} cap {found.line}", said, level)


def _beyond(allowance: Allowance, plan: Plan) -> str:
    assert plan.price is not None
    rate, cap = plan.price.overage_usd_per_million, amounts.cap(allowance, plan.price)
    return f"extra usage costs {price(rate)} per 1M tokens, up to your cap of {usd(cap)}."


# The cap


def cap_view(found: Billing) -> CapView:
    if found.plan.price is None:
        return CapView()
    notes = {
        TRIALING: "Extra usage is off during the trial. The cap applies after it ends.",
        PAST_DUE: "Extra usage is off while a payment is due.",
    }
    return CapView(
        current=usd(found.cap_usd),
        value=f"{found.cap_usd:.2f}".removesuffix(".00"),
        own=found.own_cap,
        default=price(found.plan.price.default_cap_usd),
        note=notes.get(found.status, ""),
    )
