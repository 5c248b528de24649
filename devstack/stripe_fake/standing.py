"""A subscription's standing: its status, how payments change it, and when it is next due.

Invariant: canceled and incomplete_expired are final. Each change's event includes the previous
values.
"""

from collections.abc import Mapping
from typing import Any

from devstack.stripe_fake.agenda import DUE
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.periods import DAY

KIND = "subscription"
FINAL = frozenset({"canceled", "incomplete_expired"})
# A subscription in one of these states begins a new period when one ends.
RUNNING = frozenset({"trialing", "active", "past_due"})
NOTICE_SECONDS = 3 * DAY
# How long a first payment may take.
INCOMPLETE_SECONDS = 23 * 3600


def period(subscription: Object) -> tuple[int, int]:
    """Where the current one begins and ends: all items go together."""
    first = subscription["items"]["data"][0]
    return first["current_period_start"], first["current_period_end"]


def save(books: Books, subscription: Object) -> None:
    look = _next_look(subscription)
    # Overdue checks run now: time doesn't go back.
    subscription[DUE] = None if look is None else max(look, books.now())
    books.save(subscription)


def change(books: Books, subscription: Object, values: Mapping[str, Any]) -> None:
    """Change a subscription and emit an event, if anything visible has changed."""
    previous = {
        name: subscription.get(name)
        for name, value in values.items()
        if subscription.get(name) != value
    }
    subscription.update(values)
    save(books, subscription)
    if any(not name.startswith("_") for name in previous):
        books.emit("customer.subscription.updated", subscription, previous)


def end(books: Books, subscription: Object, reason: str) -> None:
    """Cancel it, here and now. `reason` as in Stripe's list: `cancellation_requested`, ..."""
    now = books.now()
    details = subscription["cancellation_details"] | {"reason": reason}
    subscription |= {
        "status": "canceled",
        "canceled_at": subscription["canceled_at"] or now,
        "ended_at": now,
        "cancellation_details": details,
    }
    save(books, subscription)
    books.emit("customer.subscription.deleted", subscription)


def after_payment(books: Books, invoice: Object) -> None:
    """The latest invoice was paid, or the last open one: all is well again."""
    subscription = _of(books, invoice)
    if subscription is None or subscription["status"] not in {"incomplete", "past_due"}:
        return
    others = books.all("invoice", _subscription=subscription["id"], status="open")
    if subscription["latest_invoice"] == invoice["id"] or not others:
        change(books, subscription, {"status": "active"})


def after_failure(books: Books, invoice: Object) -> None:
    subscription = _of(books, invoice)
    if subscription is not None and subscription["status"] in {"active", "trialing"}:
        change(books, subscription, {"status": "past_due"})


def given_up(books: Books, invoice: Object) -> None:
    """The last retry has failed, and nothing more is billed: it would be charged in vain too."""
    subscription = _of(books, invoice)
    if subscription is not None and subscription["status"] not in FINAL:
        end(books, subscription, "payment_failed")


def _of(books: Books, invoice: Object) -> Object | None:
    return books.get(KIND, invoice["_subscription"]) if invoice["_subscription"] else None


def _next_look(subscription: Object) -> int | None:
    status = subscription["status"]
    if status == "incomplete":
        return subscription["created"] + INCOMPLETE_SECONDS
    if status not in RUNNING:
        return None
    _, period_end = period(subscription)
    cancel_at: int | None = subscription["cancel_at"]
    looks = [period_end]
    if cancel_at is not None and cancel_at <= period_end:
        looks.append(cancel_at)
    elif subscription["_upcoming_told"] != period_end:
        looks.append(period_end - NOTICE_SECONDS)
    if status == "trialing" and subscription["_trial_told"] != subscription["trial_end"]:
        looks.append(subscription["trial_end"] - NOTICE_SECONDS)
    return min(looks)
