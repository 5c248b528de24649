"""Meters, and what was used by each customer as they have counted it."""

from collections.abc import Iterable
from typing import Any

from stripe.params.billing._meter_create_params import MeterCreateParams
from stripe.params.billing._meter_deactivate_params import MeterDeactivateParams
from stripe.params.billing._meter_event_summary_list_params import MeterEventSummaryListParams
from stripe.params.billing._meter_list_params import MeterListParams
from stripe.params.billing._meter_reactivate_params import MeterReactivateParams
from stripe.params.billing._meter_retrieve_params import MeterRetrieveParams
from stripe.params.billing._meter_update_params import MeterUpdateParams

from devstack.stripe_fake import customers
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.operations import Call, Operation, change, only, page, page_of

KIND = "billing.meter"
WINDOWS = {None: 60, "hour": 3600, "day": 86400}


def create(call: Call) -> Object:
    params, books = call.params, call.books
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
    books.add(meter)
    books.emit("billing.meter.created", meter)
    return meter


def retrieve(call: Call) -> Object:
    return call.books.need(KIND, call.path["id"])


def update(call: Call) -> Object:
    return _changed(call, "billing.meter.updated", dict(call.params))


def deactivate(call: Call) -> Object:
    transitions = {"deactivated_at": call.books.now()}
    values: Object = {"status": "inactive", "status_transitions": transitions}
    return _changed(call, "billing.meter.deactivated", values)


def reactivate(call: Call) -> Object:
    values: Object = {"status": "active", "status_transitions": {"deactivated_at": None}}
    return _changed(call, "billing.meter.reactivated", values)


def list_all(call: Call) -> Object:
    params = only(call, "status", "limit", "starting_after", "ending_before")
    equal = {"status": params["status"]} if "status" in params else {}
    return page(call, call.books.all(KIND, **equal), "/v1/billing/meters")


def list_summaries(call: Call) -> Object:
    """What was used between two instants of the machine, as the events were stamped."""
    params = call.params
    meter = call.books.need(KIND, call.path["id"])
    customers.living(call.books, params["customer"])
    start, end, window = params["start_time"], params["end_time"], WINDOWS[_grouping(call)]
    for name in ("start_time", "end_time"):
        if params[name] % window:
            raise PaymentsError(
                f"{name} must be aligned to the start of a {_grouping(call) or 'minute'} in UTC.",
                param=name,
            )
    if start >= end:
        raise PaymentsError("end_time must be after start_time.", param="end_time")
    rows = call.books.database.execute(
        "select timestamp, value from meter_events where meter = ? and customer = ? "
        "and timestamp >= ? and timestamp < ? and state = 'counted' order by timestamp, seq",
        (meter["id"], params["customer"], start, end),
    ).fetchall()
    step = window if _grouping(call) else end - start
    begins = sorted({start + (at - start) // step * step for at, _ in rows}) or [start]
    data = [
        {
            "id": f"mtrusg_test_{meter['id'][-8:]}{begin}",
            "object": "billing.meter_event_summary",
            "aggregated_value": _aggregated(
                meter, (value for at, value in rows if begin <= at < begin + step)
            ),
            "end_time": begin + step,
            "livemode": False,
            "meter": meter["id"],
            "start_time": begin,
        }
        for begin in begins
    ]
    return page_of(call, data[::-1], f"/v1/billing/meters/{meter['id']}/event_summaries")


def metered(books: Books, customer: str, meter_id: str, start: int, end: int) -> int:
    """What a customer used from `start` up to, not including, `end`, in the books' time."""
    rows = books.database.execute(
        "select value from meter_events where meter = ? and customer = ? and at >= ? and at < ? "
        "and state = 'counted' order by at, seq",
        (meter_id, customer, start, end),
    )
    return _aggregated(books.need(KIND, meter_id), (value for (value,) in rows))


def named(books: Books, event_name: str) -> list[Object]:
    return books.all(KIND, event_name=event_name)


def _aggregated(meter: Object, values: Iterable[int]) -> int:
    counted = list(values)
    match meter["default_aggregation"]["formula"]:
        case "count":
            return len(counted)
        case "last":
            return counted[-1] if counted else 0
        case _:
            return sum(counted)


def _grouping(call: Call) -> Any:
    return call.params.get("value_grouping_window")


def _changed(call: Call, event: str, values: Object) -> Object:
    meter = call.books.need(KIND, call.path["id"])
    if previous := change(call, meter, values):
        call.books.emit(event, meter, previous)
    return meter


OPERATIONS = (
    Operation("POST", "/v1/billing/meters", MeterCreateParams, create),
    Operation("GET", "/v1/billing/meters", MeterListParams, list_all),
    Operation("GET", "/v1/billing/meters/{id}", MeterRetrieveParams, retrieve),
    Operation("POST", "/v1/billing/meters/{id}", MeterUpdateParams, update),
    Operation("POST", "/v1/billing/meters/{id}/deactivate", MeterDeactivateParams, deactivate),
    Operation("POST", "/v1/billing/meters/{id}/reactivate", MeterReactivateParams, reactivate),
    Operation(
        "GET",
        "/v1/billing/meters/{id}/event_summaries",
        MeterEventSummaryListParams,
        list_summaries,
    ),
)
