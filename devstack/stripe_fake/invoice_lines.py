"""An invoice's lines and amounts: base prices, tiered usage, and prorations.

An invoice keeps what it bills as parts, from which its lines are recalculated while it is a draft,
since usage still comes in. A part has `kind` (licensed, metered or proration), `item`, `price`,
`start`, `end`, and either `quantity` or (a proration) `amount` and `description`.

Invariant: amounts are exact until a line's end, where they are rounded to cents, half up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from devstack.stripe_fake import meters
from devstack.stripe_fake.books import Books, Object

Part = Object
CENTS = 100
HALF = Fraction(1, 2)
SIGNS = {"usd": "$", "eur": "€", "gbp": "£"}


@dataclass(frozen=True, slots=True)
class Charge:
    """Some of a quantity at one rate. `tier` counts from 1."""

    quantity: int
    each: Decimal
    tier: int | None = None

    @property
    def cents(self) -> int:
        return rounded(Fraction(self.each) * self.quantity)


def rounded(amount: Fraction) -> int:
    """Rounds half a cent up, in both directions, so that a reversal equals the original."""
    whole = int(abs(amount) + HALF)
    return whole if amount >= 0 else -whole


def charges(price: Object, quantity: int) -> list[Charge]:
    """What a quantity of a price costs, by its tiers."""
    if price["billing_scheme"] == "per_unit":
        return [Charge(quantity, Decimal(price["unit_amount_decimal"]))]
    return list(_by_tiers(price, quantity))


def costs(price: Object, quantity: int) -> int:
    """In cents."""
    return sum(charge.cents for charge in charges(price, quantity))


def lines(books: Books, invoice: Object) -> list[Object]:
    """The lines of an invoice's parts as things are now."""
    return [
        {
            "id": books.new_id("il"),
            "object": "line_item",
            "currency": invoice["currency"],
            "discount_amounts": [],
            "discountable": True,
            "discounts": [],
            "invoice": invoice["id"],
            "livemode": False,
            "metadata": {},
            "parent": {
                "invoice_item_details": None,
                "subscription_item_details": {
                    "invoice_item": None,
                    "proration": part["kind"] == "proration",
                    "proration_details": {"credited_items": None},
                    "subscription": invoice["_subscription"],
                    "subscription_item": part["item"],
                },
                "type": "subscription_item_details",
            },
            "period": {"start": part["start"], "end": part["end"]},
            "pretax_credit_amounts": [],
            "subscription": invoice["_subscription"],
            "subtotal": own_fields["amount"],
            "taxes": [],
            **own_fields,
        }
        for part in invoice["_parts"]
        for own_fields in _charges(books, invoice["customer"], part)
    ]


def money(currency: str, cents: Decimal) -> str:
    """`$20.00`; below a cent as exact as it is."""
    units = cents / CENTS
    exact = f"{units.normalize():f}"
    decimals = len(exact.partition(".")[2])
    amount = exact if decimals > 2 else f"{units:.2f}"  # noqa: PLR2004  # cents
    return f"{SIGNS.get(currency, currency.upper() + ' ')}{amount}"


def name_of(books: Books, price: Object) -> str:
    return books.need("product", price["product"])["name"] or price["product"]


def _by_tiers(price: Object, quantity: int) -> Iterator[Charge]:
    tiers: list[Object] = price["_tiers"]
    below = 0
    for index, tier in enumerate(tiers, start=1):
        bound = tier["up_to"]
        used = quantity - below if bound is None else min(quantity, bound) - below
        # The first tier is listed even if nothing was used.
        if used > 0 or (index == 1 and quantity == 0):
            yield Charge(used, Decimal(tier["unit_amount_decimal"]), index)
        below = bound if bound is not None else quantity
        if quantity <= below:
            return


def _charges(books: Books, customer: str, part: Part) -> Iterator[Object]:
    price = part["price"]
    name, each_period = name_of(books, price), _each_period(price)
    match part["kind"]:
        case "proration":
            yield _line(price, part["quantity"], part["amount"], part["description"], None)
            return
        case "trial":
            yield _line(price, part["quantity"], 0, f"Trial period for {name}", Decimal(0))
            return
        case "metered":
            meter = price["recurring"]["meter"]
            quantity = meters.metered(books, customer, meter, part["start"], part["end"])
        case _:
            quantity = part["quantity"]
    if part["kind"] == "metered" and part["free"]:
        description = f"{quantity:,} × {name} (free trial)"
        yield _line(price, quantity, 0, description, Decimal(0))
        return
    for charge in charges(price, quantity):
        rate = money(price["currency"], charge.each)
        tier = f"Tier {charge.tier} " if charge.tier else ""
        description = f"{charge.quantity:,} × {name} ({tier}at {rate}{each_period})"
        yield _line(price, charge.quantity, charge.cents, description, charge.each)


def _each_period(price: Object) -> str:
    recurring: Object = price["recurring"]
    count, interval = recurring["interval_count"], recurring["interval"]
    return f" / {interval}" if count == 1 else f" every {count} {interval}s"


def _line(price: Object, quantity: int, amount: int, text: str, each: Decimal | None) -> Object:
    pricing: dict[str, Any] = {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": None if each is None else f"{each.normalize():f}",
    }
    return {
        "amount": amount,
        "description": text,
        "pricing": pricing,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
    }
