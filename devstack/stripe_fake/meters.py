"""Meters, and each customer's usage as counted by them."""

from stripe.params.billing._meter_create_params import MeterCreateParams
from stripe.params.billing._meter_deactivate_params import MeterDeactivateParams
from stripe.params.billing._meter_event_summary_list_params import MeterEventSummaryListParams
from stripe.params.billing._meter_list_params import MeterListParams
from stripe.params.billing._meter_reactivate_params import MeterReactivateParams
from stripe.params.billing._meter_retrieve_params import MeterRetrieveParams

from devstack.stripe_fake import customers
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.operations import (
    PAGING,
    Call,
    Operation,
    change,
    listed,
    listing,
    not_done,
    only,
    retrieving,
)

KIND = "billing.meter"
MINUTE = 60


def create(call: Call) -> Object:
    params, books = call.params, call.books
    if params["default_aggregation"]["formula"] != "sum":
        raise not_done("default_aggregation[formula]")
    if any(meter["status"] == "active" for meter in named(books, params["event_name"])):
        raise PaymentsError(
            f"A meter with event_name {params['event_name']} already exists.", param="event_name"
        )
    meter: Object = {
        "id": books.new_id("mtr_test"),
        "object": KIND,
        "created": books.now(),
        "customer_mapping": params.get("customer_mapping")
        or {"event_payload_key": "stripe_customer_id", "type": "by_id"},
        "default_aggregation": params["default_aggregation"],
        "display_name": params["display_name"],
        "event_name": params["event_name"],
        "event_time_window": params.get("event_time_window"),
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": books.now(),
        "value_settings": params.get("value_settings") or {"event_payload_key": "value"},
    }
    return books.add(meter, "billing.meter.created")


def deactivate(call: Call) -> Object:
    return _switched(call, "inactive", call.books.now(), "billing.meter.deactivated")


def reactivate(call: Call) -> Object:
    return _switched(call, "active", None, "billing.meter.reactivated")


def _switched(call: Call, status: str, deactivated_at: int | None, event: str) -> Object:
    meter = call.books.need(KIND, call.path["id"])
    transitions = {"deactivated_at": deactivated_at}
    return change(call, meter, {"status": status, "status_transitions": transitions}, event)


def list_summaries(call: Call) -> Object:
    """Usage between two points in machine time, by the events' timestamps."""
    params = only(call, "customer", "start_time", "end_time", *PAGING)
    meter, start, end = call.path["id"], params["start_time"], params["end_time"]
    call.books.need(KIND, meter)
    customers.living(call.books, params["customer"])
    for name in ("start_time", "end_time"):
        if params[name] % MINUTE:
            raise PaymentsError(
                f"{name} must be aligned to the start of a minute in UTC.", param=name
            )
    if start >= end:
        raise PaymentsError("end_time must be after start_time.", param="end_time")
    summary: Object = {
        "id": f"mtrusg_test_{meter[-8:]}{start}",
        "object": "billing.meter_event_summary",
        "aggregated_value": _sum(call.books, "timestamp", params["customer"], meter, start, end),
        "end_time": end,
        "livemode": False,
        "meter": meter,
        "start_time": start,
    }
    return listed([summary], f"/v1/billing/meters/{meter}/event_summaries")


def metered(books: Books, customer: str, meter: str, start: int, end: int) -> int:
    """What a customer used from `start` up to, not including, `end`, in the books' time."""
    return _sum(books, "at", customer, meter, start, end)


def named(books: Books, event_name: str) -> list[Object]:
    return books.all(KIND, event_name=event_name)


def _sum(books: Books, time: str, customer: str, meter: str, start: int, end: int) -> int:
    """By one of the two times that an event has."""
    (total,) = books.database.execute(
        "select coalesce(sum(value), 0) from meter_events where meter = ? and customer = ? "  # noqa: S608
        f"and {time} >= ? and {time} < ? and state = 'counted'",
        (meter, customer, start, end),
    ).fetchone()
    return total


OPERATIONS = (
    Operation("POST", "/v1/billing/meters", MeterCreateParams, create),
    listing("/v1/billing/meters", MeterListParams, KIND, "status"),
    retrieving("/v1/billing/meters/{id}", MeterRetrieveParams, KIND),
    Operation("POST", "/v1/billing/meters/{id}/deactivate", MeterDeactivateParams, deactivate),
    Operation("POST", "/v1/billing/meters/{id}/reactivate", MeterReactivateParams, reactivate),
    Operation(
        "GET",
        "/v1/billing/meters/{id}/event_summaries",
        MeterEventSummaryListParams,
        list_summaries,
    ),
)
