"""Checkout: a session with a page of its own, which ends in a subscription or expires after a day.

Invariant: a session completes once, however often its page is sent. What a declined card leaves behind
is undone with the transaction, and the session stays open for another card.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

from stripe.params.checkout._session_create_params import SessionCreateParams
from stripe.params.checkout._session_expire_params import SessionExpireParams
from stripe.params.checkout._session_line_item_list_params import SessionLineItemListParams
from stripe.params.checkout._session_list_params import SessionListParams
from stripe.params.checkout._session_retrieve_params import SessionRetrieveParams

from devstack.stripe_fake import (
    customers,
    discounts,
    engine,
    invoice_lines,
    payment_methods,
    subscription_items,
    subscriptions,
)
from devstack.stripe_fake.agenda import DUE, waiting
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param
from devstack.stripe_fake.expand import INCLUDABLE
from devstack.stripe_fake.operations import (
    PAGING,
    Call,
    Operation,
    check_known,
    listed,
    listing,
    merged_metadata,
    not_done,
    only,
    retrieving,
)
from devstack.stripe_fake.periods import DAY

KIND = "checkout.session"
EXPIRES_SECONDS = DAY
SUBSCRIPTION_DATA = frozenset({"billing_mode", "metadata", "trial_period_days"})
LINE = frozenset({"price", "quantity"})


def create(call: Call) -> Object:
    books, params = (
        call.books,
        only(
            call,
            *("allow_promotion_codes", "automatic_tax", "cancel_url", "client_reference_id"),
            *("customer", "customer_update", "line_items", "metadata", "mode"),
            *("subscription_data", "success_url"),
        ),
    )
    _check(call)
    prices = _prices(books, params.get("line_items") or [])
    customer = _customer(call)
    data = _given(call, "subscription_data")
    trial = subscriptions.trial_end(books, data) is not None
    subtotal = 0 if trial else _asked(prices, params["line_items"])
    session_id, now = f"cs_test_{books.new_id('x')[2:]}", books.now()
    expires = now + EXPIRES_SECONDS
    session: Object = {
        "id": session_id,
        "object": KIND,
        **dict.fromkeys(("after_expiration", "billing_address_collection", "client_secret")),
        **dict.fromkeys(
            (
                "consent",
                "customer_account",
                "customer_creation",
                "customer_email",
                "invoice",
                "locale",
                "payment_intent",
            )
        ),
        **dict.fromkeys(("payment_link", "payment_method_options", "recovered_from", "return_url")),
        **dict.fromkeys(("setup_intent", "submit_type", "subscription")),
        "adaptive_pricing": {"enabled": False},
        "allow_promotion_codes": params.get("allow_promotion_codes"),
        "amount_subtotal": subtotal,
        "amount_total": subtotal,
        "automatic_tax": {
            "enabled": _given(call, "automatic_tax").get("enabled", False),
            **dict.fromkeys(("liability", "provider", "status")),
        },
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": now,
        "currency": prices[0]["currency"],
        "custom_fields": [],
        "custom_text": dict.fromkeys(
            ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
        ),
        "customer": customer["id"],
        "customer_details": _details(customer),
        "discounts": [],
        "expires_at": expires,
        "livemode": False,
        "metadata": merged_metadata({}, params.get("metadata")),
        "mode": "subscription",
        "payment_method_collection": "always",
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "shipping_options": [],
        "status": "open",
        "success_url": params["success_url"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{call.base_url}/checkout/{session_id}",
        "_customer_update": params.get("customer_update") or {},
        "_items": params["line_items"],
        "_promotion": None,
        "_subscription_data": data,
        DUE: expires,
    }
    return books.add(session)


def apply_code(books: Books, session: Object, code: str) -> None:
    """Apply a typed promotion code, or remove it if the text is empty.

    Raises `PaymentsError` with a message for the customer.
    """
    promotion = discounts.named(books, code) if code else None
    if code and not session["allow_promotion_codes"]:
        raise PaymentsError("No codes are taken here.", param="promotion_code")
    if code and not (promotion and discounts.redeemable(books, promotion, session["customer"])):
        raise PaymentsError("This code is invalid.", param="promotion_code")
    subtotal: int = session["amount_subtotal"]
    off = discounts.taken(discounts.coupon_of(books, promotion), subtotal) if promotion else 0
    session |= {
        "amount_total": subtotal - off,
        "discounts": [{"coupon": None, "promotion_code": promotion["id"]}] if promotion else [],
        "total_details": session["total_details"] | {"amount_discount": off},
        "_promotion": promotion["id"] if promotion else None,
    }
    books.save(session)


def complete(
    books: Books,
    session: Object,
    method: Object,
    *,
    authenticated: bool = False,
) -> Literal["complete", "action"]:
    """Begin the subscription with this card. Emits events in Stripe's order, the session's last.

    `action`: nothing was done yet; the card's owner has to authenticate, and then it is called again
    with `authenticated`. Raises `CardDeclined`, and `PaymentsError` if the session has expired.
    """
    session |= books.need(KIND, session["id"])
    if session["status"] == "complete":
        return "complete"
    if session["status"] == "expired":
        raise PaymentsError("This Checkout Session has expired.")
    if payment_methods.needs_action(method):
        if not authenticated:
            return "action"
        method["_authenticated"] = True
        books.save(method)
    customer = customers.living(books, session["customer"])
    payment_methods.attach_to(books, method, customer["id"])
    _keep_billing(books, session, customer, method)
    data = session["_subscription_data"]
    trial_end = subscriptions.trial_end(books, data)
    subscription = engine.subscribe(
        books,
        customer,
        session["_items"],
        metadata=merged_metadata({}, data.get("metadata")),
        billing_mode=subscriptions.mode_of(data),
        trial_end=trial_end,
        behavior="error_if_incomplete",
        authenticated=authenticated,
        more=subscriptions.automatic_tax(session)
        | {"discounts": _discounts(books, session, customer)},
    )
    session |= {
        "customer_details": _details(books.need("customer", customer["id"])),
        "invoice": subscription["latest_invoice"],
        "payment_status": "paid" if session["amount_total"] else "no_payment_required",
        "status": "complete",
        "subscription": subscription["id"],
        "url": None,
        DUE: None,
    }
    if session["automatic_tax"]["enabled"]:
        session["automatic_tax"] |= {"status": "complete"}
    books.emit("checkout.session.completed", books.save(session))
    return "complete"


def _found(call: Call) -> Object:
    return call.books.need(KIND, call.path["session"], "session")


def list_items(call: Call) -> Object:
    only(call, *PAGING)
    return _line_items(call.books, _found(call))


def expire(call: Call) -> Object:
    session = _found(call)
    if session["status"] != "open":
        raise PaymentsError(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout '
            f"Session has a status of `{session['status']}`."
        )
    _expire(call.books, session, call.books.now())
    return session


def _check(call: Call) -> None:
    params = call.params
    if params.get("mode") != "subscription":
        raise not_done("mode")
    for name in ("customer", "success_url", "line_items"):
        if not params.get(name):
            raise missing_param(name)
    check_known(_given(call, "subscription_data"), SUBSCRIPTION_DATA, "subscription_data")


def _given(call: Call, name: str) -> Object:
    return call.params.get(name) or {}


def _prices(books: Books, items: Sequence[Object]) -> list[Object]:
    prices: list[Object] = []
    for index, item in enumerate(items):
        check_known(item, LINE, f"line_items[{index}]")
        price = subscription_items.price_for(books, item, f"line_items[{index}]")
        if not subscription_items.metered(price) and not item.get("quantity"):
            raise PaymentsError(
                f"Quantity is required. Add `quantity` to `line_items[{index}]`.",
                code="parameter_missing",
                param=f"line_items[{index}][quantity]",
            )
        prices.append(price)
    subscription_items.check_together(prices)
    return prices


def _customer(call: Call) -> Object:
    customer = customers.living(call.books, call.params["customer"])
    taxed = _given(call, "automatic_tax").get("enabled")
    asks = _given(call, "customer_update").get("address") == "auto"
    if taxed and not asks and not customer["address"]:
        raise PaymentsError(
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a "
            "valid address to the Customer or set `customer_update[address]` to 'auto'.",
            code="customer_tax_location_invalid",
        )
    return customer


def _discounts(books: Books, session: Object, customer: Object) -> list[str]:
    if session["_promotion"] is None:
        return []
    promotion = books.need("promotion_code", session["_promotion"])
    discount = discounts.redeem(books, promotion, customer["id"], "promotion_code")
    return [books.save(discount | {"checkout_session": session["id"]})["id"]]


def _keep_billing(books: Books, session: Object, customer: Object, method: Object) -> None:
    """The card becomes the customer's; the address too, where it was agreed."""
    payment_methods.set_default(books, customer, method)
    billing, update = method["billing_details"], session["_customer_update"]
    values = {
        name: billing[name]
        for name in ("address", "name")
        if update.get(name) == "auto" and _said(billing[name])
    }
    former = {name: customer[name] for name, value in values.items() if customer[name] != value}
    if former:
        customer |= values
        books.emit("customer.updated", books.save(customer), former)


def _said(value: Any) -> bool:
    return any(cast("Object", value).values()) if isinstance(value, dict) else bool(value)


def _asked(prices: Sequence[Object], items: Sequence[Object]) -> int:
    """The amount due immediately, in cents."""
    return sum(
        invoice_lines.costs(price, item["quantity"])
        for price, item in zip(prices, items, strict=True)
        if not subscription_items.metered(price)
    )


def _details(customer: Object) -> Object:
    names = ("address", "email", "name", "phone", "tax_exempt")
    return {name: customer[name] for name in names} | {"tax_ids": []}


def _line_items(books: Books, session: Object) -> Object:
    data: list[Object] = []
    for index, item in enumerate(session["_items"]):
        price = books.need("price", item["price"])
        metered = subscription_items.metered(price)
        amount = 0 if metered else invoice_lines.costs(price, item["quantity"])
        data.append(
            {
                "id": f"li_{session['id'][8:]}{index}",
                "object": "item",
                "amount_discount": 0,
                "amount_subtotal": amount,
                "amount_tax": 0,
                "amount_total": amount,
                "currency": price["currency"],
                "description": invoice_lines.name_of(books, price),
                "price": price,
                "quantity": None if metered else item["quantity"],
            }
        )
    url = f"/v1/checkout/sessions/{session['id']}/line_items"
    return listed(data, url)


def _expire(books: Books, session: Object, _at: int) -> None:
    session |= {"status": "expired", "url": None, DUE: None}
    books.emit("checkout.session.expired", books.save(session))


INCLUDABLE[(KIND, "line_items")] = _line_items
WAITING = waiting(KIND, _expire)

ONE = "/v1/checkout/sessions/{session}"
OPERATIONS = (
    Operation("POST", "/v1/checkout/sessions", SessionCreateParams, create),
    listing("/v1/checkout/sessions", SessionListParams, KIND, "customer", "status"),
    retrieving(ONE, SessionRetrieveParams, KIND, "session"),
    Operation("GET", f"{ONE}/line_items", SessionLineItemListParams, list_items),
    Operation("POST", f"{ONE}/expire", SessionExpireParams, expire),
)
