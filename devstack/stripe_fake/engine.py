"""A subscription's life: begun, renewed month by month, cancelled.

Each period begins with an invoice: base prices in advance for the period that begins, usage in arrears
for the one that has ended (`switching` explains which price bills it). The usage of a trial costs
nothing. Cancelling bills what was used until then.

Invariant: a subscription's items share one period, and its boundaries are counted from the anchor.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from devstack.stripe_fake import (
    invoices,
    payment_methods,
    standing,
    subscription_schedules,
    subscription_shape,
)
from devstack.stripe_fake import subscription_items as items_of
from devstack.stripe_fake.agenda import waiting
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.charges import FAILURE, FAILURE_MESSAGE
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.payment_methods import CardDeclined
from devstack.stripe_fake.periods import next_boundary
from devstack.stripe_fake.standing import KIND

NO_METHOD = "This customer has no attached payment source or default payment method."


def subscribe(
    books: Books,
    customer: Object,
    items: Sequence[Mapping[str, Any]],
    *,
    metadata: Mapping[str, str],
    billing_mode: str = "flexible",
    trial_end: int | None = None,
    payment_method: Object | None = None,
    behavior: str = "allow_incomplete",
    authenticated: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Object:
    """Begin one. `items` have a price's id each, and a quantity unless it is metered.

    Raises `PaymentsError` for items that don't go together, and `CardDeclined` if nothing was begun
    because the first payment failed, which `error_if_incomplete` asks for.
    """
    prices = [
        items_of.price_for(books, given, f"items[{index}]") for index, given in enumerate(items)
    ]
    items_of.check_together(prices)
    subscription = subscription_shape.new(
        books, customer, prices[0]["currency"], metadata, trial_end, billing_mode
    )
    subscription |= {
        "default_payment_method": payment_method["id"] if payment_method else None,
        **(more or {}),
    }
    now = books.now()
    anchor = subscription["billing_cycle_anchor"]
    end = trial_end or next_boundary(anchor, now, *items_of.rhythm(prices[0]))
    made = [
        items_of.new(books, subscription["id"], price, given.get("quantity"), (now, end))
        for price, given in zip(prices, items, strict=True)
    ]
    subscription["items"] = items_of.listed(subscription["id"], made)
    books.add(subscription)
    if customer["currency"] is None:
        books.save(customer | {"currency": subscription["currency"]})
        customer["currency"] = subscription["currency"]
    parts = items_of.in_advance(made, (now, end), trial=trial_end is not None)
    invoice = invoices.draft(books, subscription, "subscription_create", parts, (now, now))
    subscription["latest_invoice"] = invoice["id"]
    if trial_end is None and invoice["amount_due"] == 0:
        subscription["status"] = "active"
    standing.save(books, subscription)
    books.emit("customer.subscription.created", subscription)
    invoices.announce(books, invoice)
    invoices.finalize(books, invoice)
    if invoice["status"] == "open":
        _pay_first(books, invoice, behavior, authenticated=authenticated)
    return books.need(KIND, subscription["id"])


def cancel_now(books: Books, subscription: Object) -> None:
    """End it, and bill the usage so far. Raises `PaymentsError` if it has ended already."""
    refuse_ended(subscription)
    incomplete = subscription["status"] == "incomplete"
    invoices.stop(books, subscription["id"], "open")
    _end(books, subscription)
    if incomplete:
        for invoice in books.all("invoice", _subscription=subscription["id"], status="open"):
            invoices.void(books, invoice)


def set_cancel_at_period_end(books: Books, subscription: Object, cancel: bool) -> None:
    """Let it end with its period, or not after all. Raises `PaymentsError` if it has ended, or if a
    schedule decides about that."""
    at = standing.period(subscription)[1] if cancel else None
    set_cancel_at(books, subscription, at, at_period_end=cancel)


def set_cancel_at(
    books: Books, subscription: Object, at: int | None, *, at_period_end: bool = False
) -> None:
    """Let it end at an instant to come, or with None not after all."""
    refuse_ended(subscription)
    subscription_schedules.refuse_attached(subscription)
    if at is not None and at <= books.now():
        raise PaymentsError("cancel_at must be in the future.", param="cancel_at")
    details = subscription["cancellation_details"]
    reason = None if at is None else "cancellation_requested"
    standing.change(
        books,
        subscription,
        {
            "cancel_at_period_end": at_period_end,
            "cancel_at": at,
            "canceled_at": None if at is None else books.now(),
            "cancellation_details": details | {"reason": reason},
        },
    )


def delete_all(books: Books, customer: Object) -> None:
    """Its customer is being deleted: nothing more is billed, since no one would pay it."""
    for subscription in books.all(KIND, customer=customer["id"]):
        invoices.stop(books, subscription["id"], "open", "draft")
        if subscription["status"] not in standing.FINAL:
            standing.end(books, subscription, "cancellation_requested")


def preview(books: Books, subscription: Object) -> Object | None:
    """The next invoice as it would be now, or None if there will be none."""
    if subscription["status"] not in standing.RUNNING:
        return None
    start, end = standing.period(subscription)
    cancel_at: int | None = subscription["cancel_at"]
    ends = cancel_at is not None and cancel_at <= end
    at = cancel_at if cancel_at is not None and ends else end
    parts = _parts(books, subscription, at, None if ends else _following(subscription, at))
    invoice = invoices.sketch(books, subscription, "upcoming", parts, (start, at))
    if ends and not (parts and invoice["total"]):
        return None
    return invoice | {
        "id": f"upcoming_{invoice['id']}",
        "created": at,
        "next_payment_attempt": at + invoices.DRAFT_SECONDS,
    }


def refuse_ended(subscription: Object) -> None:
    if subscription["status"] in standing.FINAL:
        raise PaymentsError(
            f"No such subscription: '{subscription['id']}'. It is {subscription['status']}.",
            status=404,
            code="resource_missing",
            param="id",
        )


def _pay_first(books: Books, invoice: Object, behavior: str, *, authenticated: bool) -> None:
    outcome = invoices.pay(books, invoice, authenticated=authenticated)
    if behavior != "error_if_incomplete":
        return
    if outcome == "failed":
        raise CardDeclined(FAILURE, FAILURE_MESSAGE)
    if outcome == "action":
        raise CardDeclined(
            "authentication_required",
            "This payment requires additional user action before it can be completed.",
        )


def _renew(books: Books, subscription: Object) -> None:
    """One period has ended: the next begins, with its invoice."""
    start, end = standing.period(subscription)
    following = _following(subscription, end)
    parts = _parts(books, subscription, end, following)
    invoice = invoices.draft(books, subscription, "subscription_cycle", parts, (start, end))
    items = subscription_schedules.items_at(books, subscription, end)
    subscription["items"] = items_of.listed(subscription["id"], items)
    scheduled = subscription_schedules.begin_period(books, subscription, end)
    trial = subscription["status"] == "trialing"
    standing.change(
        books,
        books.need(KIND, subscription["id"]),
        {
            "items": items_of.moved(subscription, (end, following)),
            "latest_invoice": invoice["id"],
            "status": "active" if trial else subscription["status"],
            "_pending": [],
            **scheduled,
        },
    )
    subscription |= books.need(KIND, subscription["id"])
    invoices.announce(books, invoice)


def _end(books: Books, subscription: Object) -> None:
    """Cancel it now, with an invoice for unbilled usage, if any."""
    start, _ = standing.period(subscription)
    now, invoice = books.now(), None
    parts = _parts(books, subscription, now, None)
    if parts and subscription["status"] in standing.RUNNING:
        invoice = invoices.draft(books, subscription, "subscription_cycle", parts, (start, now))
        subscription |= {"latest_invoice": invoice["id"], "_pending": []}
    subscription_schedules.end(books, subscription)
    standing.end(books, subscription, "cancellation_requested")
    if invoice is not None:
        invoices.announce(books, invoice)


def _parts(books: Books, subscription: Object, until: int, following: int | None) -> list[Object]:
    """What the next invoice bills: for a period until `following`, if there is to be another."""
    items, trial = subscription["items"]["data"], subscription["status"] == "trialing"
    parts = list(subscription["_pending"])
    if following is not None:
        ahead = subscription_schedules.items_at(books, subscription, until)
        parts += items_of.in_advance(ahead, (until, following), trial=False)
    if trial and following is None:
        return parts
    return parts + items_of.in_arrears(items, until, free=trial)


def _following(subscription: Object, end: int) -> int:
    price = subscription["items"]["data"][0]["price"]
    return next_boundary(subscription["billing_cycle_anchor"], end, *items_of.rhythm(price))


def _act(books: Books, subscription: Object, at: int) -> None:
    """Do the first due step; the rest follow in later runs."""
    if subscription["status"] == "incomplete":
        _expire(books, subscription)
        return
    _, period_end = standing.period(subscription)
    cancel_at, trial_end = subscription["cancel_at"], subscription["trial_end"]
    if cancel_at is not None and cancel_at <= at:
        _end(books, subscription)
    elif period_end <= at:
        _renew(books, subscription)
    elif (
        subscription["status"] == "trialing"
        and subscription["_trial_told"] != trial_end
        and trial_end - standing.NOTICE_SECONDS <= at
    ):
        subscription["_trial_told"] = trial_end
        standing.save(books, subscription)
        books.emit("customer.subscription.trial_will_end", subscription)
    else:
        subscription["_upcoming_told"] = period_end
        standing.save(books, subscription)
        upcoming = preview(books, subscription)
        assert upcoming is not None
        books.emit("invoice.upcoming", upcoming)


def _expire(books: Books, subscription: Object) -> None:
    for invoice in books.all("invoice", _subscription=subscription["id"], status="open"):
        invoices.void(books, invoice)
    values = {"status": "incomplete_expired", "ended_at": books.now()}
    standing.change(books, subscription, values)


def require_method(books: Books, customer: Object, method: Object | None) -> None:
    """Raises `PaymentsError` if there is nothing to pay with."""
    default = customer["invoice_settings"]["default_payment_method"]
    if method is None and (default is None or not books.get(payment_methods.KIND, default)):
        raise PaymentsError(NO_METHOD, code="resource_missing")


WAITING = waiting(KIND, _act)
