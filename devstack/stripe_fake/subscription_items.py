"""What a subscription is made of: its items, and the parts of an invoice that they become."""

from collections.abc import Mapping, Sequence
from typing import Any

from devstack.stripe_fake import operations
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param
from devstack.stripe_fake.invoice_lines import Part


def price_for(books: Books, given: Mapping[str, Any], param: str) -> Object:
    """The price that a call names, if one can subscribe to it. Raises `PaymentsError`."""
    if not given.get("price"):
        raise missing_param(f"{param}[price]")
    price = books.need("price", given["price"], f"{param}[price]")
    if not price["active"]:
        raise PaymentsError(
            "The price specified is inactive. This field only accepts active prices.",
            param=f"{param}[price]",
        )
    if price["type"] != "recurring":
        raise PaymentsError(
            "The price specified is set to `type=one_time` but this field only accepts prices "
            "with `type=recurring`.",
            param=f"{param}[price]",
        )
    if metered(price) and "quantity" in given:
        raise PaymentsError(
            f"You cannot set a quantity for a metered price (`{price['id']}`).",
            param=f"{param}[quantity]",
        )
    return price


def check_together(prices: Sequence[Object]) -> None:
    """Raises `PaymentsError` unless one subscription can have them all."""
    if not prices:
        raise missing_param("items")
    if len({price["id"] for price in prices}) < len(prices):
        raise PaymentsError(
            "Cannot add multiple subscription items with the same price.", param="items"
        )
    if len({price["currency"] for price in prices}) > 1:
        raise PaymentsError("All prices must have the same currency.", param="items")
    if len({rhythm(price) for price in prices}) > 1:
        raise PaymentsError(
            "The Stripe fake has all items of a subscription in the same interval.",
            param="items",
        )


def new(
    books: Books,
    subscription: str,
    price: Object,
    quantity: int | None,
    period: tuple[int, int],
) -> Object:
    """A new item from now on: earlier usage doesn't belong to it."""
    return {
        "id": books.new_id("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": books.now(),
        "current_period_end": period[1],
        "current_period_start": period[0],
        "discounts": [],
        "metadata": {},
        "plan": plan_of(price),
        "price": price,
        "quantity": None if metered(price) else 1 if quantity is None else quantity,
        "subscription": subscription,
        "tax_rates": [],
        "_from": books.now(),
    }


def at_price(item: Object, price: Object, quantity: int | None) -> Object:
    """The same item, with a price in place of its former one."""
    return item | {"plan": plan_of(price), "price": price, "quantity": quantity}


def plan_of(price: Object) -> Object:
    """The price as plans were written before there were prices."""
    same = ("active", "billing_scheme", "created", "currency", "id", "livemode", "metadata")
    recurring = ("interval", "interval_count", "meter", "trial_period_days", "usage_type")
    return {
        "object": "plan",
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "transform_usage": None,
        **{name: price[name] for name in (*same, "nickname", "product", "tiers_mode")},
        **{name: price["recurring"][name] for name in recurring},
    }


def listed(subscription: str, items: Sequence[Object]) -> Object:
    return operations.listed(items, f"/v1/subscription_items?subscription={subscription}")


def moved(subscription: Object, period: tuple[int, int]) -> Object:
    """The same items in another period."""
    start, end = period
    dates = {"current_period_start": start, "current_period_end": end}
    return listed(subscription["id"], [item | dates for item in subscription["items"]["data"]])


def metered(price: Object) -> bool:
    return price["recurring"]["usage_type"] == "metered"


def rhythm(price: Object) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def in_advance(items: Sequence[Object], period: tuple[int, int], *, trial: bool) -> list[Part]:
    """What licensed prices ask for a period that begins."""
    return [
        {
            "kind": "trial" if trial else "licensed",
            "item": item["id"],
            "price": item["price"],
            "quantity": item["quantity"],
            "start": period[0],
            "end": period[1],
        }
        for item in items
        if not metered(item["price"])
    ]


def in_arrears(items: Sequence[Object], until: int, *, free: bool) -> list[Part]:
    """Usage in the current period, up to a point in time."""
    return [
        {
            "kind": "metered",
            "item": item["id"],
            "price": item["price"],
            "start": max(item["current_period_start"], item["_from"]),
            "end": until,
            "free": free,
        }
        for item in items
        if metered(item["price"])
    ]
