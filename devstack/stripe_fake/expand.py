"""Puts objects where an answer has their ids, as `expand` asks for."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from devstack.stripe_fake.books import Books, Object, shown
from devstack.stripe_fake.errors import PaymentsError

DEEPEST = 4
# Kinds of objects by the prefix of their id.
KINDS = {
    "ch": "charge",
    "clock": "test_helpers.test_clock",
    "cs": "checkout.session",
    "cus": "customer",
    "di": "discount",
    "in": "invoice",
    "mtr": "billing.meter",
    "pm": "payment_method",
    "price": "price",
    "prod": "product",
    "promo": "promotion_code",
    "sub": "subscription",
}
# Fields left out unless requested, by kind and name, and how to look them up.
INCLUDABLE: dict[tuple[str, str], Callable[[Books, Object], Any]] = {}


def render(books: Books, obj: Object, expand: Sequence[str]) -> Object:
    """The answer for a stored object (or a list of them). Raises `PaymentsError` (400)."""
    for path in expand:
        parts = path.split(".")
        if len(parts) - (parts[0] == "data") > DEEPEST:
            raise PaymentsError(
                f"You cannot expand more than {DEEPEST} levels of a property. Property: {path}",
                param="expand",
            )
        _expand(books, obj, parts, path)
    return shown(obj)


def kind_of(given: str) -> str | None:
    """What an id stands for."""
    if given.startswith("sub_sched_"):
        return "subscription_schedule"
    return KINDS.get(given.split("_", maxsplit=1)[0])


def _expand(books: Books, obj: Object, parts: Sequence[str], path: str) -> None:
    name, *rest = parts
    includable = INCLUDABLE.get((obj.get("object", ""), name))
    if includable is not None and name not in obj:
        obj[name] = includable(books, obj)
    if name not in obj:
        raise PaymentsError(f"This property cannot be expanded ({path}).", param="expand")
    if isinstance(obj[name], str):
        obj[name] = _referred(books, obj[name], path)
    for child in _children(obj[name]):
        if rest:
            _expand(books, child, rest, path)


def _referred(books: Books, given: str, path: str) -> Object:
    kind = kind_of(given)
    if kind is None:
        raise PaymentsError(f"This property cannot be expanded ({path}).", param="expand")
    return books.need(kind, given, "expand")


def _children(value: Any) -> list[Object]:
    if isinstance(value, dict):
        return [cast("Object", value)]
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [cast("Object", item) for item in items if isinstance(item, dict)]
    return []
