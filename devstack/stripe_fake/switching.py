"""Changing a subscription's items in the middle of a period.

The unused part of a licensed price is credited, and the new one is charged for the rest of the
period, by the second. Usage is never prorated. Where a metered item gets another price, flexible
billing bills the usage until then at the former one, and restarts its tiers; classic billing never
bills that. A metered item that is taken out is billed up to then, but in flexible billing not with
`proration_behavior=none`. This uses the time of usage; Stripe doesn't say whether that or the time
of the report counts.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from devstack.stripe_fake import invoice_lines, invoices, standing
from devstack.stripe_fake import subscription_items as items_of
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.charges import FAILURE, FAILURE_MESSAGE
from devstack.stripe_fake.errors import PaymentsError, missing_resource
from devstack.stripe_fake.invoice_lines import Part
from devstack.stripe_fake.payment_methods import CardDeclined


def switch_prices(
    books: Books,
    subscription: Object,
    changes: Sequence[Mapping[str, Any]],
    *,
    proration: str = "create_prorations",
    behavior: str = "allow_incomplete",
) -> None:
    """`changes` are of items by id (price, quantity, deleted), or new items (price, quantity).

    `proration` is Stripe's: on the next invoice, on one of its own (`always_invoice`), or `none`.
    Raises `PaymentsError`; and `CardDeclined` if `behavior` is `error_if_incomplete` and the invoice
    of its own isn't paid, whereupon the transaction has to be undone.
    """
    before: list[Object] = subscription["items"]["data"]
    after = _changed(books, subscription, changes)
    items_of.check_together([item["price"] for item in after])
    if items_of.rhythm(after[0]["price"]) != items_of.rhythm(before[0]["price"]):
        raise PaymentsError(
            "The Stripe fake does not change a subscription's interval.", param="items"
        )
    pending = list(subscription["_pending"])
    if subscription["status"] != "trialing":
        flexible = subscription["billing_mode"]["type"] == "flexible"
        pending += _used(before, after, books.now(), flexible=flexible, proration=proration)
        if proration != "none":
            pending += _prorated(books, before, after)
    values: Object = {"items": items_of.listed(subscription["id"], after), "_pending": pending}
    if proration != "always_invoice" or not pending:
        standing.change(books, subscription, values)
        return
    now = books.now()
    invoice = invoices.draft(books, subscription, "subscription_update", pending, (now, now))
    standing.change(books, subscription, values | {"_pending": [], "latest_invoice": invoice["id"]})
    invoices.announce(books, invoice)
    if invoices.collect(books, invoice) != "paid" and behavior == "error_if_incomplete":
        raise CardDeclined(FAILURE, FAILURE_MESSAGE)


def _changed(
    books: Books, subscription: Object, changes: Sequence[Mapping[str, Any]]
) -> list[Object]:
    items = {item["id"]: item for item in subscription["items"]["data"]}
    period = standing.period(subscription)
    for index, change in enumerate(changes):
        param, given = f"items[{index}]", change.get("id")
        if not given:
            price = items_of.price_for(books, change, param)
            quantity = change.get("quantity")
            item = items_of.new(books, subscription["id"], price, quantity, period)
            items[item["id"]] = item
            continue
        if given not in items:
            raise missing_resource("subscription_item", given, f"{param}[id]")
        if change.get("deleted"):
            del items[given]
            continue
        former = items[given]
        price = former["price"]
        if change.get("price") not in (None, price["id"]) or "quantity" in change:
            price = items_of.price_for(books, {"price": price["id"], **change}, param)
        if items_of.metered(price):
            quantity = None
        else:
            quantity = change.get("quantity", former["quantity"] or 1)
        # Usage of before is the former price's.
        begins = {"_from": books.now()} if price["id"] != former["price"]["id"] else {}
        items[given] = items_of.at_price(former, price, quantity) | begins
    return list(items.values())


def _used(
    before: Sequence[Object], after: Sequence[Object], now: int, *, flexible: bool, proration: str
) -> list[Part]:
    """Usage of metered items that were removed or got another price."""
    kept = {item["id"]: item["price"]["id"] for item in after if items_of.metered(item["price"])}
    billed: list[Object] = []
    for item in before:
        if item["id"] not in kept:
            billed += [] if flexible and proration == "none" else [item]
        elif flexible and kept[item["id"]] != item["price"]["id"]:
            billed.append(item)
    return items_of.in_arrears(billed, now, free=False)


def _prorated(books: Books, before: Sequence[Object], after: Sequence[Object]) -> list[Part]:
    former = {item["id"]: item for item in before}
    latter = {item["id"]: item for item in after}
    parts: list[Part] = []
    for given in {**former, **latter}:
        old, new = former.get(given), latter.get(given)
        if old and new and _terms(old) == _terms(new):
            continue
        if old and not items_of.metered(old["price"]):
            parts.append(_part(books, old, -1, "Unused time on"))
        if new and not items_of.metered(new["price"]):
            parts.append(_part(books, new, 1, "Remaining time on"))
    return parts


def _terms(item: Object) -> tuple[str, int | None]:
    return item["price"]["id"], item["quantity"]


def _part(books: Books, item: Object, sign: int, what: str) -> Part:
    start, end, now = item["current_period_start"], item["current_period_end"], books.now()
    price, quantity = item["price"], item["quantity"]
    share = Fraction(end - now, end - start)
    day = datetime.fromtimestamp(now, UTC)
    name = invoice_lines.name_of(books, price)
    return {
        "kind": "proration",
        "item": item["id"],
        "price": price,
        "quantity": quantity,
        "amount": sign * invoice_lines.rounded(invoice_lines.costs(price, quantity) * share),
        "description": f"{what} {name} after {day.day} {day:%b %Y}",
        "start": now,
        "end": end,
    }
