"""What the page's dialogs ask for, read from what a browser sent. Whether it can be, the domain knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from aisaas.controls.found_models import NewModel
from aisaas.controls.model_overrides import ModelChange, OwnPrice
from aisaas.controls.spending_caps import SCOPES, CapScope
from aisaas.errors import ActionInvalid
from aisaas.ui import payloads
from aisaas.ui.payloads import form_field

PRICES = ("input_usd", "output_usd", "cached_input_usd")
_WHOLE = re.compile(r"[0-9]{1,9}")


def ticked(form: object, name: str) -> bool:
    return form_field(form, name) == "yes"


def scope(form: object) -> CapScope:
    asked = form_field(form, "subject")
    for known in SCOPES:
        if asked == known:
            return known
    raise ActionInvalid("That cap doesn't exist.")


def usd_or_settings(form: object) -> Decimal | None:
    """None for a field that was left empty: as the settings have it."""
    return _number(form, "usd")


def model_change(form: object, plans: Iterable[str]) -> ModelChange:
    """The model as it is to be. A number that was left empty is the catalogue's."""
    return ModelChange(
        enabled=form_field(form, "enabled") == "on",
        plans=_plans(form, plans),
        weight=_number(form, "weight"),
        price=_price(form),
    )


def retirement(form: object) -> ModelChange:
    return ModelChange(retired=True, successor=form_field(form, "successor") or None)


def new_model(form: object, plans: Iterable[str]) -> NewModel:
    """A model that was found, as it is to be sold. Without a price it costs LiteLLM's."""
    provider, _, upstream = form_field(form, "subject").partition(" ")
    return NewModel(
        provider=provider,
        upstream=upstream,
        label=form_field(form, "label"),
        context_window=_tokens(form, "context_window", "context window"),
        max_output=_tokens(form, "max_output", "output limit"),
        plans=_plans(form, plans),
        price=_price(form),
        fallback=form_field(form, "fallback") or None,
    )


def _plans(form: object, plans: Iterable[str]) -> frozenset[str]:
    return frozenset(plan for plan in plans if ticked(form, f"plan_{plan}"))


def _price(form: object) -> OwnPrice | None:
    into, out, cached = (_number(form, name) for name in PRICES)
    if (into is None) != (out is None) or (into is None and cached is not None):
        raise ActionInvalid("Enter a price for both tokens in and tokens out.")
    if into is None or out is None:
        return None
    return OwnPrice(into, out, into if cached is None else cached)


def _tokens(form: object, name: str, label: str) -> int:
    typed = form_field(form, name).replace(",", "")
    if not _WHOLE.fullmatch(typed):
        raise ActionInvalid(f"Enter the {label} in tokens, like 128000.")
    return int(typed)


def _number(form: object, name: str) -> Decimal | None:
    typed = form_field(form, name).removeprefix("$").lstrip()
    if not typed:
        return None
    if not payloads.is_plain_number(typed):
        raise ActionInvalid("Enter numbers like 2 or 0.075.")
    return Decimal(typed)
