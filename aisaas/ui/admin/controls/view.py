"""Caps, switches and models, as the page shows them. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from aisaas import formats
from aisaas.admin.prices import PriceDifference, price_lines
from aisaas.billing.plans.terms import Plan
from aisaas.controls.found_models import Found, FoundList
from aisaas.controls.kill_switch import EVERYTHING
from aisaas.controls.model_overrides import Margin, Offer, OfferDetails
from aisaas.controls.models import KillSwitch
from aisaas.controls.spending_caps import CapToday
from aisaas.prices import Price, window_within
from aisaas.ui import amounts

MICRO = 1_000_000
CAPS = {"free": "Free accounts, per day", "total": "All accounts, per day"}
KINDS = {"plan": "Plan", "provider": "Provider", "model": "Model"}
Field = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class CapView:
    """`spent` is spent and held; `percent` is of the cap."""

    scope: str = ""
    name: str = ""
    spent: str = ""
    words: str = ""
    percent: int = 0
    level: str = "calm"
    hint: str = ""
    fields: list[Field] = dataclasses.field(default_factory=list[Field])


@dataclasses.dataclass(frozen=True)
class SwitchView:
    """`since` is ISO 8601."""

    scope: str = ""
    name: str = ""
    since: str = ""
    reason: str = ""
    running: str = ""


@dataclasses.dataclass(frozen=True)
class ModelRowView:
    id: str = ""
    name: str = ""
    provider: str = ""
    state: str = ""
    tone: str = ""
    plans: str = ""
    weight: str = ""
    price: str = ""
    # The kinds of tokens and the tiers that cost something else, and where LiteLLM's map differs.
    price_notes: list[str] = dataclasses.field(default_factory=list[str])
    margins: list[str] = dataclasses.field(default_factory=list[str])
    fields: list[Field] = dataclasses.field(default_factory=list[Field])
    # What else there is to know of it: who added it, what follows it.
    about: list[str] = dataclasses.field(default_factory=list[str])
    added: bool = False
    retired: bool = False


@dataclasses.dataclass(frozen=True)
class LeftOutView:
    id: str = ""
    name: str = ""
    sentence: str = ""


@dataclasses.dataclass(frozen=True)
class ProviderView:
    id: str = ""
    label: str = ""


@dataclasses.dataclass(frozen=True)
class FoundView:
    """A model in a provider's list. `listed` is its name in our catalogue, if it is in there."""

    subject: str = ""
    name: str = ""
    price: str = ""
    size: str = ""
    listed: str = ""
    fields: list[Field] = dataclasses.field(default_factory=list[Field])


def cap_view(cap: CapToday) -> CapView:
    taken = cap.spent_usd + cap.reserved_usd
    gauge = amounts.gauge(int(taken * MICRO), int(cap.usd * MICRO))
    refusing = "; calls are being refused" if cap.refusing else ""
    by = "Set by an admin." if cap.changed_by else "From the settings."
    settings = formats.usd(cap.settings_usd)
    return CapView(
        scope=cap.scope,
        name=CAPS[cap.scope],
        spent=formats.usd(taken),
        words=f"of {formats.usd(cap.usd)}, {formats.usd(cap.reserved_usd)} reserved{refusing}",
        percent=gauge.percent,
        level="full" if cap.refusing else gauge.level,
        hint=by,
        fields=[
            {
                "name": "usd",
                "label": "USD per day",
                "value": plain(cap.usd),
                "hint": f"Empty: {settings}, from the settings.",
            }
        ],
    )


def alert_channels(*, mails: bool, webhook: bool) -> str:
    """How admins are alerted when a cap is nearly reached."""
    if not mails and not webhook:
        return (
            "No alerts are set up. To alert admins at 50, 80, and 100% of a cap, set SMTP_URL or "
            "ALERT_WEBHOOK_URL."
        )
    ways = [way for way, on in (("by email", mails), ("by webhook", webhook)) if on]
    return f"Admins are alerted {' and '.join(ways)} at 50, 80, and 100% of a cap, once a day for each."


def switch_views(engaged: Iterable[KillSwitch], names: Mapping[str, str]) -> list[SwitchView]:
    return [
        SwitchView(
            scope=switch.scope,
            name=names.get(switch.scope, switch.scope),
            since=switch.engaged_at.isoformat(),
            reason=switch.reason,
            running="Stopped" if switch.stop_running else "Continue",
        )
        for switch in engaged
    ]


def scope_names(
    scopes: Iterable[str], plans: Mapping[str, Plan], models: Mapping[str, str]
) -> dict[str, str]:
    """What each switch is for, in words."""
    return {scope: _scope_name(scope, plans, models) for scope in scopes}


def _scope_name(scope: str, plans: Mapping[str, Plan], models: Mapping[str, str]) -> str:
    if scope == EVERYTHING:
        return "Everything"
    kind, _, name = scope.partition(":")
    label = models.get(name, name)
    if kind == "plan" and name in plans:
        label = plans[name].label
    return f"{KINDS.get(kind, kind)} {label}"


def switch_fields(names: Mapping[str, str]) -> list[Field]:
    options = [{"value": scope, "label": name} for scope, name in names.items()]
    return [
        {
            "name": "scope",
            "label": "Stop",
            "type": "select",
            "value": EVERYTHING,
            "options": options,
        },
        {
            "name": "stop_running",
            "label": "Also stop running replies. The tokens generated so far count.",
            "type": "checkbox",
        },
    ]


def model_view(
    shown: OfferDetails,
    plans: Mapping[str, Plan],
    difference: PriceDifference | None = None,
    offers: Sequence[OfferDetails] = (),
) -> ModelRowView:
    """`offers` are all of them, for what may follow this one."""
    offer = shown.offer
    state, tone = ("On", "good") if offer.on else ("Off", "")
    if offer.retired:
        state, tone = "Retired", "near"
    if offer.price is None:
        state, tone = "No price", "bad"
    return ModelRowView(
        id=offer.listed.id,
        name=offer.listed.label,
        provider=offer.listed.provider,
        state=state,
        tone=tone,
        plans=", ".join(plan.label for plan in plans.values() if plan.id in offer.plans),
        weight=plain(offer.weight),
        price=_price(offer),
        price_notes=_price_notes(offer, difference),
        margins=[_margin(margin, plans[margin.plan].label) for margin in shown.margins],
        fields=_fields(offer, list(plans.values())),
        about=_about(offer, offers),
        added=offer.listed.added,
        retired=offer.retired,
    )


def _about(offer: Offer, offers: Sequence[OfferDetails]) -> list[str]:
    labels = {each.offer.listed.id: each.offer.listed.label for each in offers}
    about = ["Added by an admin"] if offer.listed.added else []
    if offer.retired and offer.successor:
        about.append(f"Successor: {labels.get(offer.successor, offer.successor)}")
    return about


def retire_fields(offers: Sequence[OfferDetails]) -> list[Field]:
    return [_model_field("successor", "Successor", "No successor", offers)]


def _model_field(name: str, label: str, none: str, offers: Sequence[OfferDetails]) -> Field:
    """A choice among the models that new conversations can start with."""
    lines = [each.offer.listed for each in offers if each.offer.for_new]
    options = [{"value": line.id, "label": line.label} for line in lines]
    return {
        "name": name,
        "label": label,
        "type": "select",
        "value": "",
        "options": [{"value": "", "label": none}, *options],
    }


def found_words(found: FoundList) -> str:
    """How much was found, or why nothing was."""
    if found.problem is not None:
        return found.problem
    if not found.models:
        return "No models found."
    if found.fitting > len(found.models):
        return (
            f"Showing {len(found.models)} of {found.fitting:,} models. Search to narrow the list."
        )
    return f"{found.fitting} {'model' if found.fitting == 1 else 'models'} found."


def found_view(
    found: Found, plans: Mapping[str, Plan], offers: Sequence[OfferDetails]
) -> FoundView:
    model = found.model
    price = model.price
    window = window_within(model.context_window, price)
    known = [f"{size:,} {what}" for size, what in _sizes(window, model.max_output) if size]
    return FoundView(
        subject=f"{model.provider} {model.upstream}",
        name=model.upstream,
        price=f"{_priced(price.input_usd)} / {_priced(price.output_usd)}" if price else "Unknown",
        size=", ".join(known) or "Unknown",
        listed=found.listed.label if found.listed is not None else "",
        fields=[] if found.listed else _add_fields(found, window, plans, offers),
    )


def _sizes(window: int | None, longest: int | None) -> Sequence[tuple[int | None, str]]:
    return ((window, "context"), (longest, "output"))


def _add_fields(
    found: Found, window: int | None, plans: Mapping[str, Plan], offers: Sequence[OfferDetails]
) -> list[Field]:
    model = found.model
    longest = min((size for size in (model.max_output, window) if size), default=None)
    if model.max_output is None:
        longest = None
    name = model.upstream.partition("/")[2]
    hint = (
        "LiteLLM's price, unless you change it."
        if model.price
        else "LiteLLM has no price for this model. Enter what the provider charges."
    )
    return [
        {"name": "label", "label": "Name", "value": name[:80], "required": True},
        # A free plan is paid for by the operator: that is chosen, not kept.
        *(_plan_field(plan, chosen=plan.price is not None) for plan in plans.values()),
        *_price_fields(model.price, hint=hint),
        {
            "name": "context_window",
            "label": "Context window, in tokens",
            "value": str(window or ""),
            "required": True,
        },
        {
            "name": "max_output",
            "label": "Output limit, in tokens",
            "value": str(longest or ""),
            "required": True,
        },
        _model_field("fallback", "Fallback", "No fallback", offers),
    ]


def _plan_field(plan: Plan, *, chosen: bool) -> Field:
    return {
        "name": f"plan_{plan.id}",
        "label": f"On {plan.label}",
        "type": "checkbox",
        "value": "yes" if chosen else "",
    }


def _price_fields(price: Price | None, *, hint: str = "") -> list[Field]:
    prices = (
        ("input_usd", "USD per 1M model tokens in", price.input_usd if price else None),
        ("output_usd", "USD per 1M model tokens out", price.output_usd if price else None),
        (
            "cached_input_usd",
            "USD per 1M cached model tokens",
            price.cached_input_usd if price else None,
        ),
    )
    fields: list[Field] = [
        {"name": name, "label": label, "value": "" if usd is None else plain(usd)}
        for name, label, usd in prices
    ]
    if hint:
        fields[0]["hint"] = hint
    return fields


def _price(offer: Offer) -> str:
    if offer.price is None:
        return "–"
    return f"{_priced(offer.price.input_usd)} / {_priced(offer.price.output_usd)}"


def _price_notes(offer: Offer, difference: PriceDifference | None) -> list[str]:
    notes = price_lines(offer.price)[1:] if offer.price is not None else []
    if difference is not None:
        listed = price_lines(difference.in_map)[0]
        notes.append(f"Differs from LiteLLM's map: {listed} ({difference.in_map.version})")
    return notes


def _priced(usd: Decimal) -> str:
    return formats.price(usd)


def _margin(margin: Margin, plan: str) -> str:
    if margin.overage is None:
        return f"{plan}: up to {_small(margin.whole_usd)} per user and month"
    if margin.included is None:
        return f"{plan}: {formats.percent(margin.overage)} extra usage"
    return f"{plan}: {formats.percent(margin.included)} included, {formats.percent(margin.overage)} extra usage"


def _small(usd: Decimal) -> str:
    return formats.sum_usd(usd)


def _fields(offer: Offer, plans: Sequence[Plan]) -> list[Field]:
    listed, price = offer.listed, offer.price
    on = [{"value": "on", "label": "On"}, {"value": "off", "label": "Off"}]
    return [
        {
            "name": "enabled",
            "label": "Available",
            "type": "select",
            "value": "on" if offer.enabled else "off",
            "options": on,
        },
        *(_plan_field(plan, chosen=plan.id in offer.plans) for plan in plans),
        {
            "name": "weight",
            "label": "Weight",
            "value": plain(offer.weight),
            "hint": f"Quota tokens per model token. Empty: {plain(listed.weight)}, from the catalog.",
        },
        *_price_fields(price),
    ]


def plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
