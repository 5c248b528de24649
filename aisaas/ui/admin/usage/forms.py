"""What a browser asks the usage page for, checked. Any client can send anything."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import cast, get_args

from aisaas.billing.ledger.usage_models import Span, Step, UserSort
from aisaas.errors import ActionInvalid
from aisaas.ui.admin.usage.view import SPANS, SPLITS
from aisaas.ui.admin.view import OrderView

USER_ORDERS: frozenset[UserSort] = frozenset(get_args(UserSort))
NO_CHOICE = "That option doesn't exist."


def days(value: object) -> int:
    """One of SPANS."""
    if value not in [key for key, _ in SPANS]:
        raise ActionInvalid(NO_CHOICE)
    return int(str(value))


def span(form: object) -> Span:
    """Two days, `first` and `last`."""
    fields = cast("dict[object, object]", form) if isinstance(form, dict) else {}
    try:
        return Span(_day(fields.get("first")), _day(fields.get("last")))
    except ValueError as error:
        raise ActionInvalid(str(error)) from None


def _day(value: object) -> date:
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("Choose a first and a last day.") from None


def step(value: object) -> Step:
    if value == "day":
        return "day"
    if value == "hour":
        return "hour"
    raise ActionInvalid(NO_CHOICE)


def split(value: object) -> str:
    """One of SPLITS."""
    for key, _ in SPLITS:
        if value == key:
            return key
    raise ActionInvalid(NO_CHOICE)


def order(key: object, keys: Collection[str], now: OrderView) -> OrderView:
    """By that column; if it is sorted by it already, the other way round."""
    if not isinstance(key, str) or key not in keys:
        raise ActionInvalid(NO_CHOICE)
    return OrderView(key, down=not now.down if key == now.key else True)


def user_sort(order: OrderView) -> UserSort:
    """What an order of users sorts by."""
    return next(key for key in USER_ORDERS if key == order.key)
