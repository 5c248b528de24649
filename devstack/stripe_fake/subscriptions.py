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
from devstack.stripe_fake.operations import Call, Operation, merged_metadata, only, page
from devstack.stripe_fake.periods import DAY

KIND = standing.KIND
# What is kept as it is given, and changes nothing here.
KEPT = ("description", "payment_settings")
ITEM = frozenset({"id", "price", "quantity", "deleted", "metadata"})
MOST_TRIAL_DAYS = 730


def create(call: Call) -> Object:
    params, books = (
        only(
            call,
            *("customer", "items", "default_payment_method", "metadata", "trial_end"),
            *("trial_period_days", "trial_settings", "payment_behavior", "automatic_tax"),
            *("collection_method", "discounts", "off_session", "proration_behavior", *KEPT),
            "billing_mode",
        ),
        call.books,
    )
    if not params.get("customer"):
        raise missing_param("customer")
    if params.get("collection_method") == "send_invoice":
        raise PaymentsError("The stand-in for Stripe only charges automatically.")
    customer = customers.living(books, params["customer"])
    method = _method(call, customer)
    ends = trial_end(books, params)
    behavior = params.get("payment_behavior", "allow_incomplete")
    if ends is None and behavior != "default_incomplete":
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
        more=settings(params)
        | {"discounts": discounts.wanted(books, customer["id"], params.get("discounts"))},
    )


def retrieve(call: Call) -> Object:
    return _up_to_date(call.books, _found(call))


def update(call: Call) -> Object:
    params, books = (
        only(
            call,
            *("items", "metadata", "cancel_at", "cancel_at_period_end", "cancellation_details"),
            *("default_payment_method", "trial_end", "trial_settings", "proration_behavior"),
            *("payment_behavior", "automatic_tax", "discounts", "off_session", *KEPT),
        ),
        call.books,
    )
    subscription = _found(call)
    if subscription["status"] in standing.FINAL and not params.keys() <= {
        "metadata",
        "cancellation_details",
    }:
        raise PaymentsError(
            "A canceled subscription can only update its cancellation_details and metadata."
        )
    _change_plain(call, subscription)
    _change_ending(books, subscription, params)
    if "trial_end" in params:
        _change_trial(books, subscription, params["trial_end"])
    if items := params.get("items"):
        subscription = books.need(KIND, subscription["id"])
        switching.switch_prices(
            books,
            subscription,
            _items(items),
            proration=params.get("proration_behavior", "create_prorations"),
            behavior=params.get("payment_behavior", "allow_incomplete"),
        )
    return _up_to_date(books, books.need(KIND, subscription["id"]))


def cancel(call: Call) -> Object:
    params, books = only(call, "invoice_now", "cancellation_details", "prorate"), call.books
    if params.get("prorate"):
        raise PaymentsError("The stand-in for Stripe credits nothing here.", param="prorate")
    subscription = _found(call)
    engine.refuse_ended(subscription)
    _change_ending(books, subscription, params)
    engine.cancel_now(books, subscription, invoice_now=params.get("invoice_now", False))
    return _up_to_date(books, books.need(KIND, subscription["id"]))


def list_all(call: Call) -> Object:
    """Those that have not ended; of a status, or `all` of them, if it is asked for."""
    wanted = ("customer", "price", "status")
    params = only(
        call, *wanted, "created", "limit", "starting_after", "ending_before", "test_clock"
    )
    books, status = call.books, params.get("status")
    # What belongs to a test clock is only listed for it, or for its customer.
    equal: Object = {"test_clock": params.get("test_clock")}
    if params.get("customer"):
        books.need("customer", params["customer"], "customer")
        equal = {"customer": params["customer"]}
    found = [each for each in books.all(KIND, **equal) if _has_status(each, status)]
    if price := params.get("price"):
        found = [
            each for each in found if price in (i["price"]["id"] for i in each["items"]["data"])
        ]
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
    """The billing mode that a call asks for; flexible by itself."""
    given: Object | None = params.get("billing_mode")
    return given["type"] if given else "flexible"


def trial_end(books: Books, params: Mapping[str, Any]) -> int | None:
    """When the trial that a call asks for ends, or None without one. Raises `PaymentsError`."""
    given, days, now = params.get("trial_end"), params.get("trial_period_days"), books.now()
    if given is not None and days is not None:
        raise PaymentsError(
            "You may only specify one of these parameters: trial_end, trial_period_days.",
            code="parameters_exclusive",
            param="trial_end",
        )
    if days is not None:
        if not 1 <= days <= MOST_TRIAL_DAYS:
            raise PaymentsError(
                f"trial_period_days must be between 1 and {MOST_TRIAL_DAYS}.",
                param="trial_period_days",
            )
        return now + days * DAY
    if given in (None, "now"):
        return None
    if given <= now:
        raise PaymentsError("trial_end must be in the future.", param="trial_end")
    return given


def settings(params: Mapping[str, Any]) -> Object:
    """What a subscription keeps of what a call says, beyond what it is."""
    values: Object = {name: params[name] for name in KEPT if name in params}
    if tax := params.get("automatic_tax"):
        enabled = {"disabled_reason": None, "enabled": tax["enabled"], "liability": None}
        values["automatic_tax"] = enabled
    if trial := params.get("trial_settings"):
        agreed = trial["end_behavior"]["missing_payment_method"]
        if agreed == "pause":
            raise PaymentsError(
                "The stand-in for Stripe pauses no subscription.", param="trial_settings"
            )
        values["trial_settings"] = {"end_behavior": {"missing_payment_method": agreed}}
    return values


def _change_plain(call: Call, subscription: Object) -> None:
    params, books = call.params, call.books
    values = settings(params)
    if "metadata" in params:
        values["metadata"] = merged_metadata(subscription["metadata"], params["metadata"])
    if "default_payment_method" in params:
        customer = books.need("customer", subscription["customer"])
        method = _method(call, customer)
        values["default_payment_method"] = method["id"] if method else None
    if "discounts" in params:
        values["discounts"] = discounts.wanted(books, subscription["customer"], params["discounts"])
    standing.change(books, subscription, values)


def _change_ending(books: Books, subscription: Object, params: Mapping[str, Any]) -> None:
    if said := params.get("cancellation_details"):
        told = {name: said[name] for name in ("comment", "feedback") if name in said}
        details = subscription["cancellation_details"] | told
        standing.change(books, subscription, {"cancellation_details": details})
    if "cancel_at" in params and "cancel_at_period_end" in params:
        raise PaymentsError(
            "You may only specify one of these parameters: cancel_at, cancel_at_period_end.",
            code="parameters_exclusive",
            param="cancel_at",
        )
    if "cancel_at_period_end" in params:
        engine.set_cancel_at_period_end(books, subscription, params["cancel_at_period_end"])
    elif "cancel_at" in params:
        at = params["cancel_at"]
        if at in {"min_period_end", "max_period_end"}:
            at = standing.period(subscription)[1]
        engine.set_cancel_at(books, subscription, at)


def _change_trial(books: Books, subscription: Object, given: Any) -> None:
    if given == "now":
        if subscription["status"] == "trialing":
            engine.end_trial(books, subscription)
        return
    if subscription["status"] != "trialing":
        raise PaymentsError(
            "The stand-in for Stripe begins no trial in the middle of a subscription.",
            param="trial_end",
        )
    until = trial_end(books, {"trial_end": given})
    assert until is not None
    start, _ = standing.period(subscription)
    values: Object = {
        "billing_cycle_anchor": until,
        "items": items_of.moved(subscription, (start, until)),
        "trial_end": until,
    }
    if subscription["cancel_at_period_end"]:
        values["cancel_at"] = until
    standing.change(books, subscription, values)


def _items(given: list[Object]) -> list[Object]:
    for index, item in enumerate(given):
        if unknown := item.keys() - ITEM:
            name = min(unknown)
            raise PaymentsError(
                f"The stand-in for Stripe does not implement the parameter {name} here.",
                param=f"items[{index}][{name}]",
            )
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
