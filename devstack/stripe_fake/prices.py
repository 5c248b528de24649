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

from devstack.stripe_fake import products
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param
from devstack.stripe_fake.expand import INCLUDABLE
from devstack.stripe_fake.operations import Call, Operation, change, merged_metadata, only, page

CURRENCY = re.compile(r"[a-z]{3}")
AMOUNT, AMOUNT_DECIMAL = "unit_amount", "unit_amount_decimal"
KNOWN = (
    *("active", "billing_scheme", "currency", "lookup_key", "metadata", "nickname", "product"),
    *("product_data", "recurring", "tax_behavior", "tiers", "tiers_mode", "transfer_lookup_key"),
    *(AMOUNT, AMOUNT_DECIMAL),
)
LISTED = ("active", "created", "currency", "lookup_keys", "product", "recurring", "type")
PAGING = ("limit", "starting_after", "ending_before")


def create(call: Call) -> Object:
    params, books = only(call, *KNOWN), call.books
    if not CURRENCY.fullmatch(params["currency"]):
        raise PaymentsError(f"Invalid currency: {params['currency']}", param="currency")
    tiers = _tiers(params)
    price: Object = {
        "id": books.new_id("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": params.get("billing_scheme", "per_unit"),
        "created": books.now(),
        "currency": params["currency"],
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": merged_metadata({}, params.get("metadata")),
        "nickname": params.get("nickname"),
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
        price |= _amounts(params, "unit_amount", required=True)
    price["lookup_key"] = _claim_lookup_key(books, price, params)
    books.add(price)
    books.emit("price.created", price)
    return price


def retrieve(call: Call) -> Object:
    return call.books.need("price", call.path["price"])


def update(call: Call) -> Object:
    plain = ("active", "nickname", "tax_behavior")
    params = only(call, *plain, "lookup_key", "metadata", "transfer_lookup_key")
    price = call.books.need("price", call.path["price"])
    values: Object = {name: params[name] for name in plain if name in params}
    if "lookup_key" in params:
        values["lookup_key"] = _claim_lookup_key(call.books, price, params)
    if "metadata" in params:
        values["metadata"] = merged_metadata(price["metadata"], params["metadata"])
    if previous := change(call, price, values):
        call.books.emit("price.updated", price, previous)
    return price


def list_all(call: Call) -> Object:
    params = only(call, *LISTED, *PAGING)
    equal = {n: params[n] for n in ("active", "currency", "product", "type") if n in params}
    found = call.books.all("price", **equal)
    if keys := params.get("lookup_keys"):
        found = [price for price in found if price["lookup_key"] in keys]
    if wanted := params.get("recurring"):
        found = [p for p in found if wanted.items() <= (p["recurring"] or {}).items()]
    return page(call, found, "/v1/prices")


def _product(books: Books, params: Mapping[str, Any]) -> str:
    if ("product" in params) == ("product_data" in params):
        raise PaymentsError(
            "You must specify either `product` or `product_data` when creating a price.",
            code="parameter_missing",
            param="product",
        )
    if data := params.get("product_data"):
        return products.add(books, data)["id"]
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
    _check_bounds(params["tiers"])
    return [
        {
            "up_to": None if tier["up_to"] == "inf" else tier["up_to"],
            **_amounts(tier, "unit_amount", required="flat_amount" not in tier),
            **_amounts(tier, "flat_amount", required=False),
        }
        for tier in params["tiers"]
    ]


def _check_bounds(tiers: Sequence[Mapping[str, Any]]) -> None:
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


def _amounts(given: Mapping[str, Any], name: str, *, required: bool) -> Object:
    """An amount in both notations: whole cents if it is whole, and as a decimal."""
    whole, exact = given.get(name), given.get(f"{name}_decimal")
    if whole is not None and exact is not None:
        raise PaymentsError(
            f"You may only specify one of these parameters: {name}, {name}_decimal.", param=name
        )
    given_amount = whole if exact is None else exact
    if given_amount is None:
        if required:
            raise missing_param(name)
        return {name: None, f"{name}_decimal": None}
    amount = Decimal(given_amount)
    if amount < 0:
        raise PaymentsError("This value must be greater than or equal to 0.", param=name)
    return {
        name: int(amount) if amount == int(amount) else None,
        f"{name}_decimal": f"{amount.normalize():f}",
    }


def _claim_lookup_key(books: Books, price: Object, params: Mapping[str, Any]) -> str | None:
    key = params.get("lookup_key")
    if key is None:
        return None
    for holder in books.all("price", lookup_key=key):
        if holder["id"] == price["id"]:
            continue
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
    Operation("GET", "/v1/prices/{price}", PriceRetrieveParams, retrieve),
    Operation("POST", "/v1/prices/{price}", PriceUpdateParams, update),
)
