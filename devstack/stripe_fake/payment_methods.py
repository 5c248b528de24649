"""Cards: read, attached to a customer, and how each behaves when it is charged.

Invariant: a card that is refused at once leaves nothing behind. Numbers are not kept, only their last
four digits.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Literal

from stripe.params._payment_method_attach_params import PaymentMethodAttachParams
from stripe.params._payment_method_list_params import PaymentMethodListParams

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param, missing_resource
from devstack.stripe_fake.operations import Call, Operation, listing, only

KIND = "payment_method"
DECLINED = "card_declined"
# The first two are refused at once; the last two when they are charged.
Behaviour = Literal[
    "insufficient_funds",
    "generic_decline",
    "succeeds",
    "authenticate_once",
    "authenticate_always",
    "fails_when_charged",
]
VISA, MASTERCARD = "4242424242424242", "5555555555554444"
BEHAVIOURS: Mapping[str, Behaviour] = {
    VISA: "succeeds",
    MASTERCARD: "succeeds",
    "4000000000000341": "fails_when_charged",
    "4000000000009995": "insufficient_funds",
    "4000000000000002": "generic_decline",
    # Once authenticated, it can be charged off-session.
    "4000002500003155": "authenticate_once",
    "4000002760003184": "authenticate_always",
}
REFUSED_AT_ONCE: Mapping[Behaviour, str] = {
    "insufficient_funds": "Your card has insufficient funds.",
    "generic_decline": "Your card was declined.",
}
# Names that Stripe gives to cards of tests, after `pm_card_`.
NAMED: Mapping[str, str] = {
    "visa": VISA,
    "mastercard": MASTERCARD,
    "chargeCustomerFail": "4000000000000341",
    "chargeDeclined": "4000000000000002",
    "chargeDeclinedInsufficientFunds": "4000000000009995",
    "authenticationRequiredOnSetup": "4000002500003155",
    "authenticationRequired": "4000002760003184",
}
SHORTEST_CVC, LONGEST_CVC = 3, 4
MONTHS = 12


class CardDeclined(PaymentsError):
    """A card that was refused. `code` is why: `insufficient_funds`, `generic_decline`, ..."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        # A typing error has a code of its own; any other decline is the bank's.
        mistyped = code.startswith(("incorrect_", "invalid_"))
        super().__init__(
            message,
            status=HTTPStatus.PAYMENT_REQUIRED,
            kind="card_error",
            code=code if mistyped else DECLINED,
            decline_code=None if mistyped else code,
            **more,
        )
        self.code = code


def from_card(
    books: Books,
    number: str,
    *,
    exp_month: int,
    exp_year: int,
    cvc: str,
    customer: str | None,
) -> Object:
    """A new payment method, attached if there is a customer. Raises `CardDeclined`."""
    digits = number.replace(" ", "").replace("-", "")
    behaviour = _checked(books, digits, exp_month, exp_year, cvc)
    method: Object = {
        "id": books.new_id("pm"),
        "object": KIND,
        "allow_redisplay": "unspecified",
        "billing_details": {
            **dict.fromkeys(("email", "name", "phone", "tax_id")),
            "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
        },
        "card": {
            "brand": "mastercard" if digits == MASTERCARD else "visa",
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": "pass",
            },
            "country": "US",
            "display_brand": "mastercard" if digits == MASTERCARD else "visa",
            "exp_month": exp_month,
            "exp_year": exp_year,
            "fingerprint": sha256(digits.encode()).hexdigest()[:16],
            "funding": "credit",
            "generated_from": None,
            "last4": digits[-4:],
            "networks": {"available": ["visa"], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": books.now(),
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
        "_behaviour": behaviour,
        "_authenticated": False,
    }
    books.add(method)
    if customer:
        attach_to(books, method, customer)
    return method


def attach_to(books: Books, method: Object, customer: str) -> None:
    """Attach it to a customer, once. Raises `PaymentsError` if it is another's, or refused."""
    if method["customer"] == customer:
        return
    if method["customer"] is not None:
        raise PaymentsError(
            "The payment method you provided has already been attached to a customer.",
            param="payment_method",
        )
    books.save(method | {"customer": customer})
    method["customer"] = customer
    books.emit("payment_method.attached", method)


def for_customer(books: Books, given: str, customer: str, param: str) -> Object:
    """The method that a call names, which is the customer's; a test card is made on the fly."""
    if (method := _test_card(books, given, customer)) is not None:
        return method
    method = books.need(KIND, given, param)
    if method["customer"] != customer:
        raise PaymentsError(
            f"The customer does not have a payment method with the ID {given}. The payment method "
            "must be attached to the customer.",
            code="resource_missing",
            param=param,
        )
    return method


def set_default(books: Books, customer: Object, method: Object) -> None:
    """What the customer's invoices are paid with from now on."""
    settings = customer["invoice_settings"]
    if settings["default_payment_method"] == method["id"]:
        return
    former = {"invoice_settings": settings}
    customer["invoice_settings"] = settings | {"default_payment_method": method["id"]}
    books.emit("customer.updated", books.save(customer), former)


def needs_action(method: Object) -> bool:
    """Whether its owner has to authenticate before it can be charged."""
    match method["_behaviour"]:
        case "authenticate_always":
            return True
        case "authenticate_once":
            return not method["_authenticated"]
        case _:
            return False


def attach(call: Call) -> Object:
    books, customer = call.books, only(call, "customer").get("customer")
    if not customer:
        raise missing_param("customer")
    if books.need("customer", customer, "customer").get("deleted"):
        raise missing_resource("customer", customer, "customer")
    given = call.path["payment_method"]
    if (method := _test_card(books, given, customer)) is None:
        method = books.need(KIND, given, "payment_method")
        attach_to(books, method, customer)
    return method


def _test_card(books: Books, given: str, customer: str) -> Object | None:
    name = given.removeprefix("pm_card_")
    if name == given or name not in NAMED:
        return None
    year = datetime.fromtimestamp(books.now(), UTC).year + 3
    return from_card(books, NAMED[name], exp_month=12, exp_year=year, cvc="123", customer=customer)


def _checked(books: Books, digits: str, exp_month: int, exp_year: int, cvc: str) -> Behaviour:
    now = datetime.fromtimestamp(books.now(), UTC)
    # As on a card, a year may have two digits.
    year = exp_year if exp_year > 99 else 2000 + exp_year  # noqa: PLR2004
    if digits not in BEHAVIOURS:
        raise CardDeclined("incorrect_number", "Your card number is incorrect.", param="number")
    if not 1 <= exp_month <= MONTHS:
        raise CardDeclined(
            "invalid_expiry_month", "Your card's expiration month is invalid.", param="exp_month"
        )
    if (year, exp_month) < (now.year, now.month):
        raise CardDeclined(
            "invalid_expiry_year", "Your card's expiration year is invalid.", param="exp_year"
        )
    if not (cvc.isdecimal() and SHORTEST_CVC <= len(cvc) <= LONGEST_CVC):
        raise CardDeclined("invalid_cvc", "Your card's security code is invalid.", param="cvc")
    behaviour = BEHAVIOURS[digits]
    if behaviour in REFUSED_AT_ONCE:
        raise CardDeclined(behaviour, REFUSED_AT_ONCE[behaviour])
    return behaviour


OPERATIONS = (
    listing("/v1/payment_methods", PaymentMethodListParams, KIND, "customer"),
    Operation(
        "POST",
        "/v1/payment_methods/{payment_method}/attach",
        PaymentMethodAttachParams,
        attach,
    ),
)
