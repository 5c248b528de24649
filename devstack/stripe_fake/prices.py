"""Prices: what a product costs, per unit or in tiers, licensed or by the meter.

Invariant: of all prices at most one has a lookup key. A price's amounts never change.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from stripe.params._price_create_params import PriceCreateParams
from stripe.params._price_list_params import PriceListParams
from stripe.params._price_retrieve_params import PriceRetrieveParams
from stripe.params._price_update_params import PriceUpdateParams

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param
from devstack.stripe_fake.expand import INCLUDABLE
from devstack.stripe_fake.operations import (
    PAGING,
    Call,
    Operation,
    change,
    check_known,
    merged_metadata,
    not_done,
    only,
    page,
    retrieving,
)

CURRENCY = re.compile(r"[a-z]{3}")
AMOUNT, AMOUNT_DECIMAL = "unit_amount", "unit_amount_decimal"
KNOWN = (
    *("billing_scheme", "currency", "lookup_key", "metadata", "product", "recurring"),
    *("tax_behavior", "tiers", "tiers_mode", "transfer_lookup_key", AMOUNT, AMOUNT_DECIMAL),
)
TIER = frozenset({"up_to", AMOUNT, AMOUNT_DECIMAL})


def create(call: Call) -> Object:
    params, books = only(call, *KNOWN), call.books
    if not CURRENCY.fullmatch(params["currency"]):
        raise PaymentsError(f"Invalid currency: {params['currency']}", param="currency")
    tiers = _tiers(params)
    price: Object = {
        "id": books.new_id("price"),
        "object": "price",
        "active": True,
        "billing_scheme": params.get("billing_scheme", "per_unit"),
        "created": books.now(),
        "currency": params["currency"],
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": merged_metadata({}, params.get("metadata")),
        "nickname": None,
        "product": _product(books, params),
        "recurring": _recurring(books, params.get("recurring")),
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": params.get("tiers_mode"),
        "transform_quantity": None,
        "type": "recurring" if params.get("recurring") else "one_time",
        AMOUNT: None,
        AMOUNT_DECIMAL: None,
        "_tiers": tiers,
    }
    if tiers is None:
        price |= _amounts(params)
    price["lookup_key"] = _claim_lookup_key(books, params)
    return books.add(price, "price.created")


def update(call: Call) -> Object:
    price = call.books.need("price", call.path["price"])
    return change(call, price, only(call, "active"), "price.updated")


def list_all(call: Call) -> Object:
    params = only(call, "active", "lookup_keys", *PAGING)
    found = call.books.all("price", **({"active": params["active"]} if "active" in params else {}))
    if keys := params.get("lookup_keys"):
        found = [price for price in found if price["lookup_key"] in keys]
    return page(call, found, "/v1/prices")


def _product(books: Books, params: Mapping[str, Any]) -> str:
    if "product" not in params:
        raise missing_param("product")
    return books.need("product", params["product"], "product")["id"]


def _recurring(books: Books, given: Mapping[str, Any] | None) -> Object | None:
    if given is None:
        return None
    usage, meter = given.get("usage_type", "licensed"), given.get("meter")
    if usage == "metered":
        if meter is None:
            raise missing_param("recurring[meter]")
        if books.need("billing.meter", meter, "recurring[meter]")["status"] != "active":
            raise PaymentsError("This meter is not active.", param="recurring[meter]")
    elif meter is not None:
        raise PaymentsError(
            "A meter can only be set on a price with usage_type=metered.", param="recurring[meter]"
        )
    return {
        "interval": given["interval"],
        "interval_count": given.get("interval_count", 1),
        "meter": meter,
        "trial_period_days": given.get("trial_period_days"),
        "usage_type": usage,
    }


def _tiers(params: Mapping[str, Any]) -> list[Object] | None:
    if params.get("billing_scheme") != "tiered":
        for name in ("tiers", "tiers_mode"):
            if name in params:
                raise PaymentsError(
                    f"`{name}` can only be set when `billing_scheme` is `tiered`.", param=name
                )
        return None
    for name in (AMOUNT, AMOUNT_DECIMAL):
        if name in params:
            raise PaymentsError(
                f"`{name}` cannot be set when `billing_scheme` is `tiered`.", param=name
            )
    for name in ("tiers", "tiers_mode"):
        if not params.get(name):
            raise missing_param(name)
    if params["tiers_mode"] != "graduated":
        raise not_done("tiers_mode=volume")
    _check_bounds(params["tiers"])
    return [
        {
            "up_to": None if tier["up_to"] == "inf" else tier["up_to"],
            **_amounts(tier),
            "flat_amount": None,
            "flat_amount_decimal": None,
        }
        for tier in params["tiers"]
    ]


def _check_bounds(tiers: Sequence[Mapping[str, Any]]) -> None:
    for index, tier in enumerate(tiers):
        check_known(tier, TIER, f"tiers[{index}]")
    *bounds, last = [tier["up_to"] for tier in tiers]
    if last != "inf":
        raise PaymentsError(
            "The last tier must have `up_to` set to `inf`.", param=f"tiers[{len(bounds)}][up_to]"
        )
    former = 0
    for index, bound in enumerate(bounds):
        if bound == "inf" or bound <= former:
            raise PaymentsError(
                "Each tier's `up_to` must be greater than that of the tier before it.",
                param=f"tiers[{index}][up_to]",
            )
        former = bound


def _amounts(given: Mapping[str, Any]) -> Object:
    """An amount in both notations: whole cents if it is whole, and as a decimal."""
    whole, exact = given.get(AMOUNT), given.get(AMOUNT_DECIMAL)
    if whole is not None and exact is not None:
        raise PaymentsError(
            f"You may only specify one of these parameters: {AMOUNT}, {AMOUNT_DECIMAL}.",
            param=AMOUNT,
        )
    given_amount = whole if exact is None else exact
    if given_amount is None:
        raise missing_param(AMOUNT)
    amount = Decimal(given_amount)
    if amount < 0:
        raise PaymentsError("This value must be greater than or equal to 0.", param=AMOUNT)
    return {
        AMOUNT: int(amount) if amount == int(amount) else None,
        AMOUNT_DECIMAL: f"{amount.normalize():f}",
    }


def _claim_lookup_key(books: Books, params: Mapping[str, Any]) -> str | None:
    key = params.get("lookup_key")
    if key is None:
        return None
    for holder in books.all("price", lookup_key=key):
        if not params.get("transfer_lookup_key"):
            raise PaymentsError(
                f"A price (`{holder['id']}`) already uses that lookup key.", param="lookup_key"
            )
        books.save(holder | {"lookup_key": None})
        books.emit("price.updated", holder | {"lookup_key": None}, {"lookup_key": key})
    return key


def _shown_tiers(_books: Books, price: Object) -> Any:
    return price["_tiers"]


INCLUDABLE[("price", "tiers")] = _shown_tiers

OPERATIONS = (
    Operation("POST", "/v1/prices", PriceCreateParams, create),
    Operation("GET", "/v1/prices", PriceListParams, list_all),
    retrieving("/v1/prices/{price}", PriceRetrieveParams, "price"),
    Operation("POST", "/v1/prices/{price}", PriceUpdateParams, update),
)
