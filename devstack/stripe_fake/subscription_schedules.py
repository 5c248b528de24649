"""Schedules: a subscription whose items change when its period ends.

Covers what this product uses: created from a subscription, a second phase that begins with a
period, released at the end or before. While one is attached, the subscription's own end can't be
set.

Invariant: a boundary between phases is a boundary between periods, so usage is billed by the items
in effect at the time, on the invoice that bills the next items in advance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stripe.params._subscription_schedule_create_params import SubscriptionScheduleCreateParams
from stripe.params._subscription_schedule_release_params import SubscriptionScheduleReleaseParams
from stripe.params._subscription_schedule_retrieve_params import SubscriptionScheduleRetrieveParams
from stripe.params._subscription_schedule_update_params import SubscriptionScheduleUpdateParams

from devstack.stripe_fake import standing
from devstack.stripe_fake import subscription_items as items_of
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_param
from devstack.stripe_fake.operations import (
    Call,
    Operation,
    check_known,
    merged_metadata,
    not_done,
    only,
    retrieving,
)
from devstack.stripe_fake.periods import boundary

KIND = "subscription_schedule"
PHASE = frozenset(
    {"automatic_tax", "duration", "end_date", "items", "proration_behavior", "start_date"}
)


def create(call: Call) -> Object:
    params, books = only(call, "from_subscription"), call.books
    if not params.get("from_subscription"):
        raise missing_param("from_subscription")
    subscription = books.need(standing.KIND, params["from_subscription"], "from_subscription")
    if subscription["status"] not in standing.RUNNING:
        raise PaymentsError(
            "You cannot migrate a subscription that is in the "
            f"`{subscription['status']}` status to a subscription schedule.",
            param="from_subscription",
        )
    if subscription["schedule"]:
        raise PaymentsError(
            "You cannot migrate a subscription that is already attached to a schedule: "
            f"`{subscription['schedule']}`.",
            param="from_subscription",
        )
    if subscription["cancel_at"] is not None:
        raise PaymentsError(
            "The Stripe fake schedules nothing for a subscription that is going to end.",
            param="from_subscription",
        )
    start, end = standing.period(subscription)
    schedule: Object = {
        "id": books.new_id("sub_sched"),
        "object": KIND,
        "application": None,
        "billing_mode": subscription["billing_mode"],
        "canceled_at": None,
        "completed_at": None,
        "created": books.now(),
        "current_phase": {"end_date": end, "start_date": start},
        "customer": subscription["customer"],
        "default_settings": {
            "automatic_tax": subscription["automatic_tax"],
            "billing_cycle_anchor": "automatic",
            "invoice_settings": {"issuer": {"type": "self"}},
        },
        "end_behavior": "release",
        "livemode": False,
        "metadata": {},
        "pause_schedules": [],
        "phases": [
            _phase(
                start,
                end,
                subscription["currency"],
                [
                    _planned(each["price"], each["quantity"])
                    for each in subscription["items"]["data"]
                ],
            )
        ],
        "released_at": None,
        "released_subscription": None,
        "status": "active",
        "subscription": subscription["id"],
        "test_clock": subscription["test_clock"],
    }
    books.add(schedule, "subscription_schedule.created")
    standing.change(books, subscription, {"schedule": schedule["id"]})
    return schedule


def update(call: Call) -> Object:
    params = only(call, "end_behavior", "metadata", "phases", "proration_behavior")
    books = call.books
    schedule = _active(call)
    if params.get("end_behavior", "release") != "release":
        raise PaymentsError("The Stripe fake only releases at the end.", param="end_behavior")
    if "metadata" in params:
        schedule["metadata"] = merged_metadata(schedule["metadata"], params["metadata"])
    if "phases" in params:
        schedule["phases"] = _phases(books, schedule, params["phases"])
    books.emit("subscription_schedule.updated", books.save(schedule))
    return schedule


def release(call: Call) -> Object:
    only(call)
    schedule = _active(call)
    subscription = call.books.need(standing.KIND, schedule["subscription"])
    _release(call.books, schedule)
    standing.change(call.books, subscription, {"schedule": None})
    return schedule


def items_at(books: Books, subscription: Object, at: int) -> list[Object]:
    """What a subscription is made of from `at` on, where a period ends."""
    present: list[Object] = subscription["items"]["data"]
    phase = _beginning(books, subscription, at)
    if phase is None:
        return present
    return [_item(books, subscription, given, present) for given in phase["items"]]


def begin_period(books: Books, subscription: Object, at: int) -> Object:
    """What of the subscription changes with a period that begins, beside its items."""
    if not subscription["schedule"]:
        return {}
    schedule = books.need(KIND, subscription["schedule"])
    phase = _beginning(books, subscription, at)
    if phase is not None:
        dates = {name: phase[name] for name in ("start_date", "end_date")}
        schedule |= {"current_phase": dates}
        books.emit("subscription_schedule.updated", books.save(schedule))
        return {}
    if schedule["phases"][-1]["end_date"] > at:
        return {}
    _release(books, schedule)
    return {"schedule": None}


def end(books: Books, subscription: Object) -> None:
    """The subscription has ended: cancel its schedule, too."""
    if subscription["schedule"]:
        schedule = books.need(KIND, subscription["schedule"])
        schedule |= {"status": "canceled", "canceled_at": books.now()}
        books.emit("subscription_schedule.canceled", books.save(schedule))


def refuse_attached(subscription: Object) -> None:
    if subscription["schedule"]:
        raise PaymentsError(
            "The subscription is managed by the subscription schedule "
            f"`{subscription['schedule']}`, and updating any cancelation behavior directly is not "
            "allowed. Please update the schedule instead."
        )


def _release(books: Books, schedule: Object) -> None:
    schedule |= {
        "status": "released",
        "released_at": books.now(),
        "released_subscription": schedule["subscription"],
        "subscription": None,
    }
    books.emit("subscription_schedule.released", books.save(schedule))


def _active(call: Call) -> Object:
    schedule = call.books.need(KIND, call.path["schedule"], "schedule")
    if schedule["status"] != "active":
        raise PaymentsError(
            f"The subscription schedule is in the `{schedule['status']}` status and can't be changed."
        )
    return schedule


def _beginning(books: Books, subscription: Object, at: int) -> Object | None:
    if not subscription["schedule"]:
        return None
    phases = books.need(KIND, subscription["schedule"])["phases"]
    return next((phase for phase in phases[1:] if phase["start_date"] == at), None)


def _phase(
    start: int,
    end: int,
    currency: str,
    items: Sequence[Object],
    proration: str = "create_prorations",
) -> Object:
    return {
        "add_invoice_items": [],
        "currency": currency,
        "discounts": [],
        "end_date": end,
        "items": list(items),
        "proration_behavior": proration,
        "start_date": start,
    }


def _planned(price: Object, quantity: int | None) -> Object:
    return {
        "discounts": [],
        "metadata": {},
        "plan": price["id"],
        "price": price["id"],
        "quantity": None if items_of.metered(price) else quantity,
    }


def _phases(books: Books, schedule: Object, given: Sequence[Mapping[str, Any]]) -> list[Object]:
    subscription = books.need(standing.KIND, schedule["subscription"])
    start, end = standing.period(subscription)
    made: list[Object] = []
    for index, phase in enumerate(given):
        param = f"phases[{index}]"
        check_known(phase, PHASE, param)
        prices = [
            items_of.price_for(books, item, f"{param}[items][{number}]")
            for number, item in enumerate(phase["items"])
        ]
        items_of.check_together(prices)
        began = made[-1]["end_date"] if made else phase.get("start_date", start)
        made.append(
            _phase(
                began,
                _end_of(phase, began, param),
                subscription["currency"],
                [
                    _planned(price, item.get("quantity", 1))
                    for price, item in zip(prices, phase["items"], strict=True)
                ],
                phase.get("proration_behavior", "create_prorations"),
            )
        )
    present = {item["price"]["id"] for item in subscription["items"]["data"]}
    if not made or {item["price"] for item in made[0]["items"]} != present:
        raise not_done("phases[0][items]")
    if (made[0]["start_date"], made[0]["end_date"]) != (start, end):
        raise not_done("phases[0][end_date]")
    return made


def _end_of(phase: Mapping[str, Any], began: int, param: str) -> int:
    if "end_date" in phase:
        return phase["end_date"]
    lasting = phase.get("duration")
    if lasting is None:
        raise not_done(f"{param}[end_date]")
    return boundary(began, 1, lasting["interval"], lasting.get("interval_count", 1))


def _item(books: Books, subscription: Object, given: Object, present: Sequence[Object]) -> Object:
    """The item that has the price already, or else one of the same kind in its place."""
    price = books.need("price", given["price"])
    same = [item for item in present if item["price"]["id"] == price["id"]]
    kind = [item for item in present if items_of.metered(item["price"]) == items_of.metered(price)]
    if same:
        return items_of.at_price(same[0], price, given["quantity"])
    if kind and not items_of.metered(price):
        return items_of.at_price(kind[0], price, given["quantity"])
    period = standing.period(subscription)
    return items_of.new(books, subscription["id"], price, given["quantity"], period)


ONE = "/v1/subscription_schedules/{schedule}"
OPERATIONS = (
    Operation("POST", "/v1/subscription_schedules", SubscriptionScheduleCreateParams, create),
    retrieving(ONE, SubscriptionScheduleRetrieveParams, KIND, "schedule"),
    Operation("POST", ONE, SubscriptionScheduleUpdateParams, update),
    Operation("POST", f"{ONE}/release", SubscriptionScheduleReleaseParams, release),
)
