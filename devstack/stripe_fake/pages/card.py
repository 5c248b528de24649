"""The form for a card, and whose card it becomes.

Invariant: number and check digits are never written back into a page, and never kept.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from devstack.stripe_fake import payment_methods, standing
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.pages.routing import Fields
from devstack.stripe_fake.payment_methods import BEHAVIOURS, Behaviour, CardDeclined

LONGEST_NAME = 100
EXPIRES = re.compile(r"(\d{1,2})\s*/\s*(?:20)?(\d{2})")
CENTURY = 2000
LAST_MONTH = 12
# The field that a decline is about, by Stripe's code; all others are about the card.
ABOUT = {
    "incorrect_number": "number",
    "invalid_expiry_month": "expires",
    "invalid_expiry_year": "expires",
    "invalid_cvc": "cvc",
}
WHOLE = ""
MEANINGS: Mapping[Behaviour, str] = {
    "succeeds": "succeeds",
    "authenticate_once": "asks for confirmation once",
    "authenticate_always": "asks for confirmation each time",
    "fails_when_charged": "is accepted, then declined whenever it is charged",
    "insufficient_funds": "is declined: insufficient funds",
    "generic_decline": "is declined",
}


@dataclass(frozen=True, slots=True)
class Card:
    number: str = field(repr=False)
    exp_month: int
    exp_year: int
    cvc: str = field(repr=False)
    name: str


def read(fields: Fields) -> Card | dict[str, str]:
    """The card that was typed in, or the errors by field."""
    number = re.sub(r"[\s-]", "", fields.get("number", ""))
    cvc, name = fields.get("cvc", ""), fields.get("name", "")
    expires = EXPIRES.fullmatch(fields.get("expires", ""))
    wrong: dict[str, str] = {}
    if not re.fullmatch(r"[0-9]{12,19}", number):
        wrong["number"] = "Enter the number on the card."
    if expires is None or not 1 <= int(expires[1]) <= LAST_MONTH:
        wrong["expires"] = "Enter month and year, like 12/30."
    if not re.fullmatch(r"[0-9]{3,4}", cvc):
        wrong["cvc"] = "Enter the three or four digits."
    if not name or len(name) > LONGEST_NAME:
        wrong["name"] = "Enter the name on the card."
    if wrong or expires is None:
        return wrong
    return Card(number, int(expires[1]), CENTURY + int(expires[2]), cvc, name)


def method_of(books: Books, card: Card, email: str | None = None) -> Object:
    """The card as a payment method, not attached to a customer yet. Raises `CardDeclined`."""
    method = payment_methods.from_card(
        books,
        card.number,
        exp_month=card.exp_month,
        exp_year=card.exp_year,
        cvc=card.cvc,
        customer=None,
    )
    method["billing_details"] |= {"name": card.name, "email": email}
    return books.save(method)


def on_file(books: Books, customer: Object) -> Object | None:
    """The card charged next: the running subscription's, else the customer's."""
    chosen: list[str | None] = [
        each["default_payment_method"] for each in _running(books, customer)
    ]
    chosen.append(customer["invoice_settings"]["default_payment_method"])
    given = next(filter(None, chosen), None)
    return books.get(payment_methods.KIND, given) if given else None


def use(books: Books, customer: Object, method: Object) -> None:
    """Charge this card from now on, for the customer and for all that runs."""
    payment_methods.attach_to(books, method, customer["id"])
    payment_methods.set_default(books, customer, method)
    for subscription in _running(books, customer):
        standing.change(books, subscription, {"default_payment_method": method["id"]})


def _running(books: Books, customer: Object) -> list[Object]:
    found = books.all(standing.KIND, customer=customer["id"])
    return [each for each in reversed(found) if each["status"] not in standing.FINAL]


def declined(error: CardDeclined) -> dict[str, str]:
    """What a refusal says, at the field it is about."""
    return {ABOUT.get(error.code, WHOLE): error.message}


def to_try() -> list[tuple[str, str]]:
    """Which cards there are, and what each does."""
    return [(_in_fours(number), MEANINGS[what]) for number, what in BEHAVIOURS.items()]


def _in_fours(number: str) -> str:
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))
