"""What the page's dialogs ask for, read from what a browser sent. Whether it can be, the domain knows."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from aisaas.admin.caps import SCOPES, CapScope
from aisaas.admin.offers import ModelChange, OwnPrice
from aisaas.errors import ActionInvalid
from aisaas.ui import payloads
from aisaas.ui.payloads import word

PRICES = ("input_usd", "output_usd", "cached_input_usd")


def ticked(form: object, name: str) -> bool:
    return word(form, name) == "yes"


def scope(form: object) -> CapScope:
    asked = word(form, "subject")
    for known in SCOPES:
        if asked == known:
            return known
    raise ActionInvalid("That cap doesn't exist.")


def usd_or_settings(form: object) -> Decimal | None:
    """None for a field that was left empty: as the settings have it."""
    return _number(form, "usd")


def model_change(form: object, plans: Iterable[str]) -> ModelChange:
    """The model as it is to be. A number that was left empty is the catalogue's."""
    numbers = {name: _number(form, name) for name in ("weight", *PRICES)}
    into, out, cached = (numbers[name] for name in PRICES)
    if (into is None) != (out is None) or (into is None and cached is not None):
        raise ActionInvalid("Enter a price for both tokens in and tokens out.")
    price = None
    if into is not None and out is not None:
        price = OwnPrice(into, out, into if cached is None else cached)
    return ModelChange(
        enabled=word(form, "enabled") == "on",
        plans=frozenset(plan for plan in plans if ticked(form, f"plan_{plan}")),
        weight=numbers["weight"],
        price=price,
    )


def _number(form: object, name: str) -> Decimal | None:
    typed = word(form, name).removeprefix("$").lstrip()
    if not typed:
        return None
    if not payloads.is_plain_number(typed):
        raise ActionInvalid("Enter numbers like 2 or 0.075.")
    return Decimal(typed)
