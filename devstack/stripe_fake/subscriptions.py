"""Subscriptions as the API has them: made, changed, cancelled."""

from collections.abc import Mapping
from typing import Any

from stripe.params._subscription_cancel_params import SubscriptionCancelParams
from stripe.params._subscription_create_params import SubscriptionCreateParams
from stripe.params._subscription_list_params import SubscriptionListParams
from stripe.params._subscription_migrate_params import SubscriptionMigrateParams
from stripe.params._subscription_retrieve_params import SubscriptionRetrieveParams
from stripe.params._subscription_update_params import SubscriptionUpdateParams

from devstack.stripe_fake import (
    customers,
    discounts,
    engine,
    payment_methods,
    standing,
    subscription_shape,
    switching,
)
from devstack.stripe_fake import subscription_items as items_of
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param
from devstack.stripe_fake.operations import (
    PAGING,
    Call,
    Operation,
    check_known,
    merged_metadata,
    not_done,
    only,
    page,
)
from devstack.stripe_fake.periods import DAY

KIND = standing.KIND
ITEM = frozenset({"id", "price", "quantity", "deleted"})
MOST_TRIAL_DAYS = 730


def create(call: Call) -> Object:
    books, params = (
        call.books,
        only(
            call,
            *("automatic_tax", "billing_mode", "customer", "default_payment_method", "discounts"),
            *("items", "metadata", "payment_behavior", "trial_period_days"),
        ),
    )
    if not params.get("customer"):
        raise missing_param("customer")
    customer = customers.living(books, params["customer"])
    method = _method(call, customer)
    ends = trial_end(books, params)
    behavior = _behavior(params)
    if ends is None:
        engine.require_method(books, customer, method)
    return engine.subscribe(
        books,
        customer,
        _items(params.get("items") or []),
        metadata=merged_metadata({}, params.get("metadata")),
        billing_mode=mode_of(params),
        trial_end=ends,
        payment_method=method,
        behavior=behavior,
        more=automatic_tax(params)
        | {"discounts": discounts.wanted(books, customer["id"], params.get("discounts"))},
    )


def retrieve(call: Call) -> Object:
    return _up_to_date(call.books, _found(call))


def update(call: Call) -> Object:
    books, params = (
        call.books,
        only(
            call,
            *("cancel_at_period_end", "default_payment_method", "items", "metadata"),
            *("payment_behavior", "proration_behavior"),
        ),
    )
    subscription = _found(call)
    if subscription["status"] in standing.FINAL and params.keys() - {"metadata"}:
        raise PaymentsError(
            "A canceled subscription can only update its cancellation_details and metadata."
        )
    _change_plain(call, subscription)
    if "cancel_at_period_end" in params:
        engine.set_cancel_at_period_end(books, subscription, params["cancel_at_period_end"])
    if items := params.get("items"):
        subscription = books.need(KIND, subscription["id"])
        switching.switch_prices(
            books,
            subscription,
            _items(items),
            proration=params.get("proration_behavior", "create_prorations"),
            behavior=_behavior(params),
        )
    return _up_to_date(books, books.need(KIND, subscription["id"]))


def cancel(call: Call) -> Object:
    only(call)
    subscription = _found(call)
    engine.cancel_now(call.books, subscription)
    return _up_to_date(call.books, call.books.need(KIND, subscription["id"]))


def list_all(call: Call) -> Object:
    """Subscriptions that have not ended; or those of a status, or `all`, on request."""
    params = only(call, "customer", "status", "test_clock", *PAGING)
    books, status = call.books, params.get("status")
    # Objects of a test clock are only listed for it, or for its customer.
    equal: Object = {"test_clock": params.get("test_clock")}
    if params.get("customer"):
        books.need("customer", params["customer"], "customer")
        equal = {"customer": params["customer"]}
    found = [each for each in books.all(KIND, **equal) if _has_status(each, status)]
    answer = page(call, found, "/v1/subscriptions")
    return answer | {"data": [_up_to_date(books, each) for each in answer["data"]]}


def migrate(call: Call) -> Object:
    """From the classic mode to the flexible one; there is no way back."""
    only(call, "billing_mode")
    subscription = _found(call)
    engine.refuse_ended(subscription)
    if subscription["billing_mode"]["type"] == "flexible":
        raise PaymentsError("This subscription already has the flexible billing mode.")
    values = {"billing_mode": subscription_shape.mode(call.books, "flexible")}
    standing.change(call.books, subscription, values)
    return _up_to_date(call.books, subscription)


def mode_of(params: Mapping[str, Any]) -> str:
    """The billing mode that a call asks for; flexible by default."""
    given: Object | None = params.get("billing_mode")
    return given["type"] if given else "flexible"


def trial_end(books: Books, params: Mapping[str, Any]) -> int | None:
    """When the trial that a call asks for ends, or None without one. Raises `PaymentsError`."""
    days = params.get("trial_period_days")
    if days is None:
        return None
    if not 1 <= days <= MOST_TRIAL_DAYS:
        raise PaymentsError(
            f"trial_period_days must be between 1 and {MOST_TRIAL_DAYS}.",
            param="trial_period_days",
        )
    return books.now() + days * DAY


def automatic_tax(params: Mapping[str, Any]) -> Object:
    given: Object = params.get("automatic_tax") or {"enabled": False}
    whole = {"disabled_reason": None, "enabled": given["enabled"], "liability": None}
    return {"automatic_tax": whole}


def _behavior(params: Mapping[str, Any]) -> str:
    """What becomes of a subscription whose invoice isn't paid at once."""
    behavior = params.get("payment_behavior", "allow_incomplete")
    if behavior not in ("allow_incomplete", "error_if_incomplete"):
        raise not_done(f"payment_behavior={behavior}")
    return behavior


def _change_plain(call: Call, subscription: Object) -> None:
    params, books = call.params, call.books
    values: Object = {}
    if "metadata" in params:
        values["metadata"] = merged_metadata(subscription["metadata"], params["metadata"])
    if "default_payment_method" in params:
        customer = books.need("customer", subscription["customer"])
        method = _method(call, customer)
        values["default_payment_method"] = method["id"] if method else None
    standing.change(books, subscription, values)


def _items(given: list[Object]) -> list[Object]:
    for index, item in enumerate(given):
        check_known(item, ITEM, f"items[{index}]")
    return given


def _method(call: Call, customer: Object) -> Object | None:
    given = call.params.get("default_payment_method")
    if not given:
        return None
    param = "default_payment_method"
    return payment_methods.for_customer(call.books, given, customer["id"], param)


def _found(call: Call) -> Object:
    return call.books.need(KIND, call.path["subscription"])


def _up_to_date(books: Books, subscription: Object) -> Object:
    """With its prices as they are now: their names and keys change."""
    items = [
        items_of.at_price(item, books.need("price", item["price"]["id"]), item["quantity"])
        for item in subscription["items"]["data"]
    ]
    return subscription | {"items": items_of.listed(subscription["id"], items)}


def _has_status(subscription: Object, wanted: str | None) -> bool:
    match wanted:
        case None:
            return subscription["status"] not in standing.FINAL
        case "all":
            return True
        case "ended":
            return subscription["status"] in standing.FINAL
        case _:
            return subscription["status"] == wanted


ONE = "/v1/subscriptions/{subscription}"
OPERATIONS = (
    Operation("POST", "/v1/subscriptions", SubscriptionCreateParams, create),
    Operation("GET", "/v1/subscriptions", SubscriptionListParams, list_all),
    Operation("GET", ONE, SubscriptionRetrieveParams, retrieve),
    Operation("POST", ONE, SubscriptionUpdateParams, update),
    Operation("DELETE", ONE, SubscriptionCancelParams, cancel),
    Operation("POST", f"{ONE}/migrate", SubscriptionMigrateParams, migrate),
)
