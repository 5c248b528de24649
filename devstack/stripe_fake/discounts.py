"""Coupons and promotion codes, and the discounts they give on an invoice.

A `once` coupon is used up by the first finalised invoice that it discounts. Prorations count like
other lines: a switch's credits are discounted like its charges.
"""

import secrets
import string
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from stripe.params._coupon_create_params import CouponCreateParams
from stripe.params._coupon_retrieve_params import CouponRetrieveParams
from stripe.params._promotion_code_create_params import PromotionCodeCreateParams
from stripe.params._promotion_code_retrieve_params import PromotionCodeRetrieveParams

from devstack.stripe_fake import customers, standing
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param
from devstack.stripe_fake.invoice_lines import money, rounded
from devstack.stripe_fake.operations import Call, Operation, check_known, only, retrieving

KIND = "discount"
MOST_PERCENT = 100
CODE_CHARACTERS, CODE_LENGTH = string.ascii_uppercase + string.digits, 8


def create_coupon(call: Call) -> Object:
    params = only(
        call,
        *("amount_off", "currency", "duration", "id", "max_redemptions", "name", "percent_off"),
        "redeem_by",
    )
    amount, percent = params.get("amount_off"), params.get("percent_off")
    if (amount is None) == (percent is None):
        raise PaymentsError(
            "You must pass exactly one of percent_off or amount_off.", param="percent_off"
        )
    if amount is not None and not params.get("currency"):
        raise missing_param("currency")
    if percent is not None and not 0 < Decimal(percent) <= MOST_PERCENT:
        raise PaymentsError("Invalid percent_off: must be above 0 and at most 100.")
    duration = params.get("duration", "once")
    if duration == "repeating":
        raise PaymentsError("The Stripe fake knows the durations once and forever.")
    books = call.books
    given = params.get("id") or books.new_id("coupon")[-CODE_LENGTH:]
    if books.get("coupon", given):
        raise PaymentsError("Coupon already exists.", code="resource_already_exists", param="id")
    coupon: Object = {
        "id": given,
        "object": "coupon",
        "amount_off": amount,
        "created": books.now(),
        "currency": params.get("currency"),
        "duration": duration,
        "duration_in_months": None,
        "livemode": False,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": {},
        "name": params.get("name"),
        "percent_off": None if percent is None else float(percent),
        "redeem_by": params.get("redeem_by"),
        "times_redeemed": 0,
        "valid": True,
    }
    return books.add(coupon, "coupon.created")


def create_code(call: Call) -> Object:
    params = only(
        call,
        *("active", "code", "customer", "expires_at", "max_redemptions", "promotion"),
    )
    books, coupon = call.books, params["promotion"].get("coupon")
    if not coupon:
        raise missing_param("promotion[coupon]")
    books.need("coupon", coupon, "promotion[coupon]")
    if params.get("customer"):
        customers.living(books, params["customer"])
    made_up = "".join(secrets.choice(CODE_CHARACTERS) for _ in range(CODE_LENGTH))
    code = params.get("code") or made_up
    if named(books, code) is not None:
        raise PaymentsError("An active promotion code with that code already exists.", param="code")
    promotion: Object = {
        "id": books.new_id("promo"),
        "object": "promotion_code",
        "active": params.get("active", True),
        "code": code,
        "created": books.now(),
        "customer": params.get("customer"),
        "customer_account": None,
        "expires_at": params.get("expires_at"),
        "livemode": False,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": {},
        "promotion": {"coupon": coupon, "type": "coupon"},
        "restrictions": {
            "first_time_transaction": False,
            "minimum_amount": None,
            "minimum_amount_currency": None,
        },
        "times_redeemed": 0,
    }
    return books.add(promotion, "promotion_code.created")


def named(books: Books, code: str) -> Object | None:
    """An active code by its text, ignoring case."""
    active = books.all("promotion_code", active=True)
    return next((each for each in active if each["code"].lower() == code.lower()), None)


def redeemable(books: Books, promotion: Object, customer: str | None) -> bool:
    coupon = coupon_of(books, promotion)
    mine = promotion["active"] and promotion["customer"] in (None, customer)
    return mine and all(
        (each["max_redemptions"] is None or each["times_redeemed"] < each["max_redemptions"])
        and (until is None or books.now() < until)
        for each, until in ((promotion, promotion["expires_at"]), (coupon, coupon["redeem_by"]))
    )


def wanted(books: Books, customer: str, given: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """The discounts that a call asks for, by coupon or by promotion code.

    Raises `PaymentsError` if a code cannot be redeemed.
    """
    found: list[str] = []
    for index, each in enumerate(given or ()):
        param = f"discounts[{index}]"
        check_known(each, ("coupon", "promotion_code"), param)
        if code := each.get("promotion_code"):
            promotion = books.need("promotion_code", code, f"{param}[promotion_code]")
            found.append(redeem(books, promotion, customer, f"{param}[promotion_code]")["id"])
        else:
            coupon = books.need("coupon", each.get("coupon") or "", f"{param}[coupon]")
            found.append(_give(books, customer, coupon, None)["id"])
    return found


def redeem(books: Books, promotion: Object, customer: str, param: str) -> Object:
    """A discount for a customer, made of a code. Raises `PaymentsError` if it isn't for them now."""
    if not redeemable(books, promotion, customer):
        raise PaymentsError("This promotion code cannot be redeemed.", param=param)
    return _give(books, customer, coupon_of(books, promotion), promotion)


def coupon_of(books: Books, promotion: Object) -> Object:
    return books.need("coupon", promotion["promotion"]["coupon"])


def _give(books: Books, customer: str, coupon: Object, promotion: Object | None) -> Object:
    """A discount for a customer's subscription; counts one more use of the coupon."""
    for used in filter(None, (coupon, promotion)):
        books.save(used | {"times_redeemed": used["times_redeemed"] + 1})
    discount: Object = {
        "id": books.new_id("di"),
        "object": KIND,
        "checkout_session": None,
        "customer": customer,
        "customer_account": None,
        **dict.fromkeys(("end", "invoice", "invoice_item", "subscription", "subscription_item")),
        "promotion_code": promotion["id"] if promotion else None,
        "source": {"coupon": coupon["id"], "type": "coupon"},
        "start": books.now(),
        "_once": coupon["duration"] == "once",
        "_used_by": None,
    }
    return books.add(discount, "customer.discount.created")


def amounts(books: Books, invoice: Object, subtotal: int) -> list[Object]:
    """What each discount takes off an invoice; each applies to the remainder."""
    left, found = max(subtotal, 0), list[Object]()
    for given in invoice["discounts"]:
        discount = books.need(KIND, given)
        if discount["_used_by"] in (None, invoice["id"]):
            off = taken(books.need("coupon", discount["source"]["coupon"]), left)
            left -= off
            found.append({"amount": off, "discount": given})
    return found


def taken(coupon: Object, subtotal: int) -> int:
    """Cents off so many."""
    if coupon["amount_off"] is not None:
        return min(coupon["amount_off"], max(subtotal, 0))
    share = Fraction(Decimal(str(coupon["percent_off"]))) / MOST_PERCENT
    return rounded(max(subtotal, 0) * share)


def use_up(books: Books, invoice: Object) -> None:
    """End the `once` discounts that this invoice has used."""
    used: list[str] = []
    for each in invoice["total_discount_amounts"]:
        discount = books.need(KIND, each["discount"])
        if each["amount"] and discount["_once"]:
            discount |= {"end": books.now(), "_used_by": invoice["id"]}
            books.emit("customer.discount.deleted", books.save(discount))
            used.append(discount["id"])
    subscription = books.get(standing.KIND, invoice["_subscription"])
    if used and subscription and subscription["status"] not in standing.FINAL:
        left = [each for each in subscription["discounts"] if each not in used]
        standing.change(books, subscription, {"discounts": left})


def in_words(coupon: Object) -> str:
    if coupon["amount_off"] is not None:
        off = f"{money(coupon['currency'], Decimal(coupon['amount_off']))} off"
    else:
        off = f"{coupon['percent_off']:g}% off"
    return off + (" once" if coupon["duration"] == "once" else "")


OPERATIONS = (
    Operation("POST", "/v1/coupons", CouponCreateParams, create_coupon),
    retrieving("/v1/coupons/{coupon}", CouponRetrieveParams, "coupon", "coupon"),
    Operation("POST", "/v1/promotion_codes", PromotionCodeCreateParams, create_code),
    retrieving(
        "/v1/promotion_codes/{promotion_code}",
        PromotionCodeRetrieveParams,
        "promotion_code",
        "promotion_code",
    ),
)
