"""Reported usage: accepted immediately, its customer checked a little later.

Invariant: an identifier counts once within a day. The window for timestamps and that day use the
machine's clock, because the reporting app does; the period that usage falls into uses the books'
time. For a customer on a test clock, the timestamp is in that clock's time and must be in the
window of both: Stripe's documentation doesn't say which of them counts.
"""

import re
import time
from collections import Counter

from stripe.params.billing._meter_event_adjustment_create_params import (
    MeterEventAdjustmentCreateParams,
)
from stripe.params.billing._meter_event_create_params import MeterEventCreateParams

from devstack.stripe_fake import meters
from devstack.stripe_fake.books import Books, Due, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param, missing_resource
from devstack.stripe_fake.operations import Call, Operation

DAY = 24 * 3600
OLDEST_SECONDS = 35 * DAY
MOST_AHEAD_SECONDS = 5 * 60
LONGEST_NAME = 100
VALUE = re.compile(r"-?\d{1,15}")
# Problems are reported together once a second; Stripe collects them for longer.
REPORT_SECONDS = 1
PROBLEM = "meter_problem"
REPORTED = "v1.billing.meter.error_report_triggered"
SAMPLES = 5
MESSAGES = {
    "meter_event_customer_not_found": "There is no customer with the id in the event's payload.",
    "meter_event_no_customer_defined": "The event's payload names no customer.",
    "meter_event_invalid_value": "The value in the event's payload is not a number.",
    "archived_meter": "The meter was deactivated.",
}


def create(call: Call) -> Object:
    books, params, received = call.books, call.params, int(time.time())
    meter = _meter(books, params["event_name"])
    customer, value = _customer(call, meter), _value(call, meter)
    frozen = _frozen_time(books, customer)
    timestamp = params.get("timestamp", received if frozen is None else frozen)
    for present in (received, frozen):
        if present is not None:
            _check_timestamp(timestamp, present)
    at = books.virtual(timestamp) if frozen is None else timestamp
    identifier = params.get("identifier") or books.new_id("idmp")
    if len(identifier) > LONGEST_NAME:
        raise PaymentsError(
            f"Invalid string: must be at most {LONGEST_NAME} characters", param="identifier"
        )
    _check_new(books, identifier, received)
    known = _lives(books, customer)
    books.database.execute(
        "insert into meter_events "
        "(identifier, meter, customer, value, timestamp, at, received, state) "
        "values (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(identifier, meter["id"], customer, value, timestamp, at),
            *(received, "counted" if known else "invalid"),
        ),
    )
    if not known:
        note_problem(books, meter["id"], "meter_event_customer_not_found", identifier)
    return {
        "object": "billing.meter_event",
        "created": received,
        "event_name": meter["event_name"],
        "identifier": identifier,
        "livemode": False,
        "payload": params["payload"],
        "timestamp": timestamp,
    }


def adjust(call: Call) -> Object:
    """Cancel an event of the last 24 hours."""
    meter = _meter(call.books, call.params["event_name"])
    cancel: Object = call.params.get("cancel", {})
    identifier = cancel.get("identifier")
    if not identifier:
        raise missing_param("cancel[identifier]")
    row = call.books.database.execute(
        "select seq, received, state from meter_events where identifier = ? and meter = ? "
        "order by seq desc",
        (identifier, meter["id"]),
    ).fetchone()
    if row is None:
        raise missing_resource("meter_event", identifier, "cancel[identifier]")
    seq, received, state = row
    if state == "cancelled":
        raise PaymentsError("This meter event was cancelled already.", param="cancel[identifier]")
    if received <= time.time() - DAY:
        raise PaymentsError(
            "A meter event can only be cancelled within 24 hours after it was received.",
            param="cancel[identifier]",
        )
    call.books.database.execute("update meter_events set state = 'cancelled' where seq = ?", (seq,))
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": meter["event_name"],
        "livemode": False,
        "status": "pending",
        "type": "cancel",
    }


def note_problem(books: Books, meter: str, code: str, identifier: str) -> None:
    books.add(
        {
            "object": PROBLEM,
            "id": books.new_id("problem"),
            "created": books.now(),
            "meter": meter,
            "code": code,
            "identifier": identifier,
        }
    )


def report_problems(books: Books, at: int) -> int:
    """Report the problems recorded until `at`, in one event per meter; returns how many events."""
    noted = [problem for problem in books.all(PROBLEM) if problem["created"] <= at]
    for meter in sorted({problem["meter"] for problem in noted}):
        _report(books, meter, [problem for problem in noted if problem["meter"] == meter], at)
    for problem in noted:
        books.remove(problem)
    return len({problem["meter"] for problem in noted})


def _report(books: Books, meter: str, problems: list[Object], at: int) -> None:
    related = {"id": meter, "type": meters.KIND, "url": f"/v1/billing/meters/{meter}"}
    types = [
        {
            "code": code,
            "error_count": count,
            "sample_errors": [
                {
                    "error_message": MESSAGES.get(code, code),
                    "request": {"identifier": problem["identifier"]},
                }
                for problem in problems
                if problem["code"] == code
            ][:SAMPLES],
        }
        for code, count in Counter(problem["code"] for problem in problems).items()
    ]
    data: Object = {
        "developer_message_summary": f"There is 1 invalid event of {meter}."
        if len(problems) == 1
        else f"There are {len(problems)} invalid events of {meter}.",
        "reason": {"error_count": len(problems), "error_types": types},
        "validation_start": _written(min(problem["created"] for problem in problems)),
        "validation_end": _written(at),
    }
    books.emit_thin(REPORTED, related, data)


def _written(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))


def _meter(books: Books, event_name: str) -> Object:
    found = meters.named(books, event_name)
    active = [meter for meter in found if meter["status"] == "active"]
    if not active:
        why = "is inactive" if found else "does not exist"
        raise PaymentsError(f"The meter for event_name {event_name} {why}.", param="event_name")
    return active[0]


def _check_timestamp(timestamp: int, received: int) -> None:
    if timestamp < received - OLDEST_SECONDS:
        raise PaymentsError(
            "The timestamp must be within the past 35 days.",
            code="timestamp_too_far_in_past",
            param="timestamp",
        )
    if timestamp > received + MOST_AHEAD_SECONDS:
        raise PaymentsError(
            "The timestamp must not be more than 5 minutes in the future.",
            code="timestamp_in_future",
            param="timestamp",
        )


def _customer(call: Call, meter: Object) -> str:
    key = meter["customer_mapping"]["event_payload_key"]
    customer = call.params["payload"].get(key)
    if not customer:
        raise missing_param(f"payload[{key}]")
    return customer


def _value(call: Call, meter: Object) -> int:
    key = meter["value_settings"]["event_payload_key"]
    text = call.params["payload"].get(key)
    if text is None:
        raise missing_param(f"payload[{key}]")
    if not VALUE.fullmatch(text):
        raise PaymentsError(
            f"Invalid value: {text} is not a whole number of at most 15 digits.",
            param=f"payload[{key}]",
        )
    return int(text)


def _check_new(books: Books, identifier: str, received: int) -> None:
    since = received - DAY
    known = books.database.execute(
        "select 1 from meter_events where identifier = ? and received > ?", (identifier, since)
    ).fetchone()
    if known:
        raise PaymentsError(
            f"An event already exists with identifier {identifier}.", param="identifier"
        )


def _frozen_time(books: Books, customer: str) -> int | None:
    """Of the test clock that a customer belongs to."""
    found = books.get("customer", customer)
    clock = books.get("test_helpers.test_clock", (found or {}).get("test_clock") or "")
    return clock["frozen_time"] if clock else None


def _lives(books: Books, customer: str) -> bool:
    found = books.get("customer", customer)
    return found is not None and not found.get("deleted")


def _lane(call: Call) -> str | None:
    """A customer's events of one meter are taken one after the other."""
    for meter in meters.named(call.books, call.params["event_name"]):
        key = meter["customer_mapping"]["event_payload_key"]
        return f"{meter['id']} {call.params['payload'].get(key)}"
    return None


def _next_report(books: Books) -> int | None:
    noted = books.all(PROBLEM)
    return noted[0]["created"] + REPORT_SECONDS if noted else None


def _run_report(books: Books, at: int) -> None:
    report_problems(books, at)


DUE = Due(_next_report, _run_report)

OPERATIONS = (
    Operation("POST", "/v1/billing/meter_events", MeterEventCreateParams, create, _lane),
    Operation(
        "POST", "/v1/billing/meter_event_adjustments", MeterEventAdjustmentCreateParams, adjust
    ),
)
