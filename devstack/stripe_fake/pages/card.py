"""The form for a card, and what a card is on paper.

Invariant: number and check digits are never written back into a page, and never kept.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from devstack.stripe_fake import payment_methods, standing
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.pages.html import Html, joined, tag
from devstack.stripe_fake.pages.routing import Fields
from devstack.stripe_fake.payment_methods import BEHAVIOURS, Behaviour, CardDeclined

LONGEST_NAME = 100
EXPIRES = re.compile(r"(\d{1,2})\s*/\s*(?:20)?(\d{2})")
CENTURY = 2000
LAST_MONTH = 12
# Which field a refusal is about, by the code that Stripe gives it; the others are about the card.
ABOUT = {
    "incorrect_number": "number",
    "invalid_number": "number",
    "expired_card": "expires",
    "invalid_expiry_month": "expires",
    "invalid_expiry_year": "expires",
    "incorrect_cvc": "cvc",
    "invalid_cvc": "cvc",
}
WHOLE = ""
MEANINGS: Mapping[Behaviour, str] = {
    "succeeds": "is good",
    "authenticate_once": "has to be confirmed once",
    "authenticate_always": "has to be confirmed each time",
    "fails_when_charged": "is taken, and declined whenever it is charged",
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
    """The card that was typed in; or what is wrong, by field."""
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
    """The card as a payment method, nobody's yet. Raises `CardDeclined`."""
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
    """What is charged next: the card of what runs, else the customer's."""
    chosen: list[str | None] = [
        each["default_payment_method"] for each in _running(books, customer)
    ]
    chosen.append(customer["invoice_settings"]["default_payment_method"])
    for given in chosen:
        if given:
            return books.get(payment_methods.KIND, given)
    return None


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


def inputs(typed: Fields, wrong: Mapping[str, str]) -> Html:
    return joined(
        tag("p", wrong[WHOLE], class_="wrong notice", role="alert") if WHOLE in wrong else None,
        text(
            "number",
            "Card number",
            wrong,
            autocomplete="cc-number",
            inputmode="numeric",
            maxlength=24,
        ),
        tag(
            "div",
            text(
                "expires",
                "Expires (MM/YY)",
                wrong,
                value=typed.get("expires", ""),
                autocomplete="cc-exp",
                maxlength=9,
            ),
            text("cvc", "CVC", wrong, autocomplete="cc-csc", inputmode="numeric", maxlength=4),
            class_="pair",
        ),
        text(
            "name",
            "Name on card",
            wrong,
            value=typed.get("name", ""),
            autocomplete="cc-name",
            maxlength=LONGEST_NAME,
        ),
    )


def note() -> Html:
    """Which cards there are, and what each does."""
    return tag(
        "details",
        tag("summary", "Cards to try"),
        tag(
            "p",
            "Any month to come, any three digits and any name. No other card is taken.",
            class_="quiet",
        ),
        tag(
            "ul",
            *(
                tag("li", tag("code", _in_fours(number)), f" {MEANINGS[behaviour]}")
                for number, behaviour in BEHAVIOURS.items()
            ),
            class_="plain",
        ),
        open=True,
    )


def text(
    name: str,
    label: str,
    wrong: Mapping[str, str],
    *,
    required: bool = True,
    **attributes: str | int,
) -> Html:
    """A field with its label, and what is wrong with it beside it."""
    told = wrong.get(name)
    return tag(
        "label",
        label,
        tag(
            "input",
            id=name,
            name=name,
            required=required,
            aria_invalid="true" if told else None,
            aria_describedby=f"{name}-wrong" if told else None,
            **attributes,
        ),
        tag("span", told, id=f"{name}-wrong", class_="wrong", role="alert") if told else None,
    )


def in_words(method: Object) -> str:
    """`Visa ending in 4242, expires 12/2030`"""
    card: Object = method["card"]
    brand = str(card["brand"]).replace("_", " ").title()
    return f"{brand} ending in {card['last4']}, expires {card['exp_month']:02}/{card['exp_year']}"


def _in_fours(number: str) -> str:
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))
