"""The billing portal in the API: its configurations, and sessions for a customer.

Invariant: exactly one configuration is the default, the first one created. The pages are served
elsewhere; `configuration_of` says what they may offer.
"""

from typing import Any, cast

from stripe.params.billing_portal._configuration_create_params import ConfigurationCreateParams
from stripe.params.billing_portal._configuration_list_params import ConfigurationListParams
from stripe.params.billing_portal._configuration_update_params import ConfigurationUpdateParams
from stripe.params.billing_portal._session_create_params import SessionCreateParams

from devstack.stripe_fake import customers
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param
from devstack.stripe_fake.operations import (
    Call,
    Operation,
    change,
    listing,
    merged_metadata,
    not_done,
    only,
)

CONFIGURATION, SESSION = "billing_portal.configuration", "billing_portal.session"
CHANGEABLE = ("default_return_url", "features")
# Stripe's defaults for features that aren't mentioned, or only in part.
FEATURES: Object = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {
            "enabled": False,
            "feedback_options": None,
            "options": [
                *("too_expensive", "missing_features", "switched_service", "unused"),
                *("customer_service", "too_complex", "low_quality", "other"),
            ],
        },
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_pause": {
        "duration": {"interval_options": [], "type": "indefinite"},
        "enabled": False,
    },
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": None,
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}


def create(call: Call) -> Object:
    params, books = only(call, *CHANGEABLE, "metadata"), call.books
    configuration: Object = {
        "id": books.new_id("bpc"),
        "object": CONFIGURATION,
        "active": True,
        "application": None,
        "business_profile": dict.fromkeys(
            ("headline", "privacy_policy_url", "terms_of_service_url")
        ),
        "created": books.now(),
        "default_return_url": None,
        "features": FEATURES,
        "is_default": not books.all(CONFIGURATION, is_default=True),
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": merged_metadata({}, params.get("metadata")),
        "name": None,
        "updated": books.now(),
    }
    configuration |= _changes(call, configuration)
    return books.add(configuration, "billing_portal.configuration.created")


def update(call: Call) -> Object:
    params, books = only(call, *CHANGEABLE, "metadata"), call.books
    configuration = books.need(CONFIGURATION, call.path["configuration"])
    values = _changes(call, configuration)
    if "metadata" in params:
        values["metadata"] = merged_metadata(configuration["metadata"], params["metadata"])
    if all(configuration[name] == value for name, value in values.items()):
        return configuration
    values["updated"] = books.now()
    return change(call, configuration, values, "billing_portal.configuration.updated")


def open_session(call: Call) -> Object:
    params, books = only(call, "configuration", "customer", "return_url"), call.books
    if not params.get("customer"):
        raise missing_param("customer")
    customer = customers.living(books, params["customer"])
    configuration = _chosen(books, params.get("configuration"))
    session_id = books.new_id("bps")
    session: Object = {
        "id": session_id,
        "object": SESSION,
        "configuration": configuration["id"],
        "created": books.now(),
        "customer": customer["id"],
        "customer_account": None,
        "flow": None,
        "livemode": False,
        "locale": None,
        "on_behalf_of": None,
        "return_url": params.get("return_url") or configuration["default_return_url"],
        "url": f"{call.base_url}/portal/{session_id}",
    }
    return books.add(session, "billing_portal.session.created")


def configuration_of(books: Books, session: Object) -> Object:
    return books.need(CONFIGURATION, session["configuration"])


def _chosen(books: Books, given: str | None) -> Object:
    if given:
        return books.need(CONFIGURATION, given, "configuration")
    for configuration in books.all(CONFIGURATION, is_default=True):
        return configuration
    raise PaymentsError(
        "No configuration provided and your test mode default configuration has not been created.",
        param="configuration",
    )


def _changes(call: Call, former: Object) -> Object:
    params = call.params
    values: Object = {name: params[name] for name in CHANGEABLE if name in params}
    mode = params.get("features", {}).get("subscription_cancel", {}).get("mode")
    if mode not in (None, "at_period_end"):
        raise not_done("features[subscription_cancel][mode]")
    if "features" in values:
        values["features"] = _laid_over(former["features"], values["features"])
    return values


def _laid_over(former: Any, given: Any) -> Any:
    """The former value, with the given values merged in recursively."""
    if not isinstance(former, dict) or not isinstance(given, dict):
        # An empty text unsets a list.
        return [] if isinstance(former, list) and given is None else given
    there, parts = cast("Object", former), cast("Object", given)
    return there | {name: _laid_over(there.get(name), value) for name, value in parts.items()}


CONFIGURATIONS = "/v1/billing_portal/configurations"
OPERATIONS = (
    Operation("POST", CONFIGURATIONS, ConfigurationCreateParams, create),
    listing(CONFIGURATIONS, ConfigurationListParams, CONFIGURATION, "active"),
    Operation("POST", f"{CONFIGURATIONS}/{{configuration}}", ConfigurationUpdateParams, update),
    Operation("POST", "/v1/billing_portal/sessions", SessionCreateParams, open_session),
)
