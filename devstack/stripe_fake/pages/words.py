"""Money, time and prices as people say them. Amounts are in cents, instants in Unix seconds."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from devstack.stripe_fake import standing
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.invoice_lines import costs, name_of
from devstack.stripe_fake.subscription_items import metered

CENTS = Decimal(100)
MILLION = 1_000_000
# Below this a price for one isn't meaningful; it is shown per million.
SMALLEST_SHOWN = Decimal(1)
SIGNS = {"usd": "$", "eur": "€", "gbp": "£"}


def money(cents: Decimal | int | str | None, currency: str) -> str:
    """`$20.00`; more places only where cents are not enough."""
    amount = Decimal(cents or 0) / CENTS
    text = f"{abs(amount):,.2f}"
    if amount != amount.quantize(Decimal("0.01")):
        text = f"{abs(amount).normalize():,f}"
    sign = SIGNS.get(currency)
    minus = "−" if amount < 0 else ""
    return f"{minus}{sign}{text}" if sign else f"{minus}{text} {currency.upper()}"


def round_money(cents: Decimal | int | str | None, currency: str) -> str:
    """`$10`, where there is nothing behind the point."""
    return money(cents, currency).removesuffix(".00")


def day(at: int | None) -> str:
    if at is None:
        return "—"
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%b} {moment.day}, {moment.year}"


def instant(at: int) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return (
        f"{moment:%b} {moment.day}, {moment.year}, {moment.hour % 12 or 12}:{moment:%M:%S %p} UTC"
    )


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: int) -> str:
    """The two largest units: `31 days 4 hours`."""
    parts = [
        count(amount, noun)
        for amount, noun in (
            (seconds // 86_400, "day"),
            (seconds % 86_400 // 3600, "hour"),
            (seconds % 3600 // 60, "minute"),
            (seconds % 60, "second"),
        )
        if amount
    ]
    return " ".join(parts[:2]) or "0 seconds"


def interval(price: Object) -> str:
    """`a month`, `every 3 months`."""
    recurring: Object = price.get("recurring") or {}
    each, times = recurring.get("interval", "month"), recurring.get("interval_count", 1)
    return f"a {each}" if times == 1 else f"every {times} {each}s"


def unit(books: Books, price: Object) -> str:
    """The unit, in the singular: `token`."""
    product = books.get("product", price["product"])
    return product["unit_label"] or "unit" if product else "unit"


def usage_terms(books: Books, price: Object) -> list[str]:
    """What a metered price asks for, tier by tier: `then $10 per million tokens beyond 2,000,000`."""
    noun, currency = unit(books, price), price["currency"]
    tiers: Sequence[Any] | None = price.get("_tiers")
    if not tiers:
        return [each(price["unit_amount_decimal"], noun, currency)]
    terms: list[str] = []
    former = 0
    for tier in tiers:
        cost = Decimal(tier["unit_amount_decimal"])
        if not cost:
            terms.append(
                f"{count(tier['up_to'], noun)} included" if tier["up_to"] else "the rest is free"
            )
        else:
            beyond = f" beyond {former:,}" if former else ""
            then = "then " if former else ""
            terms.append(f"{then}{each(cost, noun, currency)}{beyond}")
        former = tier["up_to"] or former
    return terms


def each(cents: Decimal | int | str | None, noun: str, currency: str) -> str:
    """`$10 per million tokens`, or `$2 per seat` where the price of one is large enough to show."""
    cost = Decimal(cents or 0)
    if 0 < cost < SMALLEST_SHOWN:
        return f"{round_money(cost * MILLION, currency)} per million {noun}s"
    return f"{round_money(cost, currency)} per {noun}"


STATES = {
    "trialing": "on trial",
    "active": "active",
    "past_due": "past due",
    "unpaid": "unpaid",
    "canceled": "canceled",
    "incomplete": "waiting for the first payment",
    "incomplete_expired": "never paid",
    "paused": "paused",
    "draft": "draft",
    "open": "open",
    "paid": "paid",
    "void": "void",
    "uncollectible": "uncollectible",
}
GOOD, BAD = frozenset({"active", "trialing", "paid"}), frozenset({"past_due", "unpaid", "open"})


def tone(status: str) -> str:
    """The class of its color."""
    return " good" if status in GOOD else " wrong" if status in BAD else ""


def base_item(subscription: Object) -> Object | None:
    """The item that has the plan's price; the metered ones come with it."""
    items: Sequence[Object] = subscription["items"]["data"]
    licensed = [item for item in items if not metered(item["price"])]
    return next(iter([*licensed, *items]), None)


def plan_name(books: Books, subscription: Object) -> str:
    item = base_item(subscription)
    return name_of(books, item["price"]) if item else "Nothing"


def what_comes(subscription: Object) -> str:
    """`renews on May 3, 2026`, or whatever comes at the end of the period."""
    _, period_end = standing.period(subscription)
    end = day(period_end)
    match subscription["status"]:
        case "canceled" | "incomplete_expired":
            return f"ended on {day(subscription.get('ended_at'))}"
        case "incomplete" | "paused":
            return ""
        case _ if subscription.get("cancel_at"):
            return f"ends on {end}"
        case "trialing":
            return f"until {end}, paid from then on"
        case _:
            return f"renews on {end}"


def period(start: int, end: int) -> str:
    return day(start) if start == end else f"{day(start)} to {day(end)}"


def base_terms(price: Object, quantity: int) -> str:
    """`$20.00 a month`"""
    return f"{money(costs(price, quantity), price['currency'])} {interval(price)}"


def card(method: Object) -> str:
    """`Visa ending in 4242, expires 12/2030`"""
    shown: Object = method["card"]
    brand = str(shown["brand"]).title()
    return (
        f"{brand} ending in {shown['last4']}, expires {shown['exp_month']:02}/{shown['exp_year']}"
    )


def sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""
