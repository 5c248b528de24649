"""Checkout: what is bought, a card for it, and the way back.

Invariant: a session is completed once, however often its form is sent; a card that is refused leaves
it open.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from devstack.stripe_fake import checkout
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.pages import card, confirm, words
from devstack.stripe_fake.pages.frame import link, page
from devstack.stripe_fake.pages.html import Html, joined, tag
from devstack.stripe_fake.pages.routing import Fields, see, shown, submitted
from devstack.stripe_fake.pages.sale import Sale
from devstack.stripe_fake.payment_methods import CardDeclined
from devstack.stripe_fake.periods import DAY
from devstack.stripe_fake.services import Services

NO_EMAIL = "Enter an address like name@example.com."
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
CODE = "promotion_code"
BACK = "← Back without subscribing"


def routes(services: Services) -> list[BaseRoute]:
    books = services.books

    async def show(request: Request) -> Response:
        sale = Sale(books, request)
        return _offer(sale, {}, {}) if sale.open else _over(sale)

    async def pay(request: Request, fields: Fields) -> Response:
        sale = Sale(books, request)
        if not sale.open:
            return _back(sale)
        given, wrong = card.read(fields), _wrong_email(sale, fields)
        if isinstance(given, dict) or wrong:
            return _offer(sale, fields, wrong | (given if isinstance(given, dict) else {}))
        email = sale.email or fields["email"]
        try:
            with books.transaction():
                method = card.method_of(books, given, email)
                outcome = checkout.complete(books, sale.session, method, email=email)
        except CardDeclined as error:
            return _offer(sale, fields, card.declined(error))
        if outcome == "action":
            return see(sale.confirm_address(method))
        return _back(sale)

    async def apply_code(request: Request, fields: Fields) -> Response:
        sale = Sale(books, request)
        if not sale.open:
            return _over(sale)
        try:
            with books.transaction():
                checkout.apply_code(books, sale.session, fields.get(CODE, ""))
        except PaymentsError as error:
            return _offer(sale, fields, {CODE: error.message})
        return see(sale.path)

    async def ask(request: Request) -> Response:
        sale = Sale(books, request)
        if not sale.open:
            return _over(sale)
        return confirm.question(
            f"{sale.due_today} today for {sale.plan}",
            sale.confirm_address(sale.method(request)),
            leads_to=(sale.success,),
        )

    async def decide(request: Request, fields: Fields) -> Response:
        sale = Sale(books, request)
        if not sale.open:
            return _back(sale)
        if not confirm.confirmed(fields):
            return _offer(sale, {}, {card.WHOLE: confirm.REFUSED})
        method = sale.method(request)
        email = method["billing_details"]["email"]
        try:
            with books.transaction():
                checkout.complete(books, sale.session, method, authenticated=True, email=email)
        except CardDeclined as error:
            return _offer(sale, {}, card.declined(error))
        return _back(sale)

    return [
        shown("/checkout/{session}", show),
        submitted("/checkout/{session}", pay),
        submitted("/checkout/{session}/promotion", apply_code),
        shown("/checkout/{session}/confirm", ask),
        submitted("/checkout/{session}/confirm", decide),
    ]


def _wrong_email(sale: Sale, fields: Fields) -> dict[str, str]:
    """Asked for where nobody has said it yet."""
    if sale.email or EMAIL.fullmatch(fields.get("email", "")):
        return {}
    return {"email": NO_EMAIL}


def _offer(sale: Sale, typed: Fields, wrong: Mapping[str, str]) -> Response:
    return page(
        f"{'Try' if sale.trial_end else 'Subscribe to'} {sale.plan}",
        tag("p", way_back) if (way_back := link(sale.session["cancel_url"], BACK)) else None,
        tag(
            "div",
            tag("div", _bought(sale, typed, wrong)),
            tag("div", _form(sale, typed, wrong)),
            class_="columns",
        ),
        status=HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
        width="wide",
        leads_to=(sale.success,),
    )


def _bought(sale: Sale, typed: Fields, wrong: Mapping[str, str]) -> Html:
    return tag(
        "section",
        *_price(sale),
        tag("ul", *(tag("li", term) for term in sale.usage)) if sale.usage else None,
        tag("p", "What goes beyond is billed at the end of each period.", class_="quiet")
        if sale.usage
        else None,
        tag("table", *(_sum(*each) for each in _sums(sale)), class_="total"),
        _promotion(sale, typed, wrong) if sale.session["allow_promotion_codes"] else None,
        class_="card",
    )


def _sums(sale: Sale) -> list[tuple[str, str]]:
    off, currency = sale.session["total_details"]["amount_discount"], sale.session["currency"]
    sums = [("Total due today", sale.due_today)]
    return [("Discount", words.money(-off, currency)), *sums] if off else sums


def _sum(name: str, amount: str) -> Html:
    return tag("tr", tag("th", name, scope="row"), tag("td", amount, class_="amount"))


def _promotion(sale: Sale, typed: Fields, wrong: Mapping[str, str]) -> Html:
    taken = sale.promotion()
    if taken is not None:
        code, worth = taken
        content = [
            tag("p", tag("strong", code), f": {worth}", class_="good"),
            tag("button", "Remove", tag("span", f" {code}", class_="unseen")),
        ]
    else:
        content = [
            card.text(CODE, "Promotion code", wrong, value=typed.get(CODE, ""), autocomplete="off"),
            tag("button", "Apply"),
        ]
    return tag("form", *content, method="post", action=f"{sale.path}/promotion", class_="beside")


def _price(sale: Sale) -> list[Html]:
    if sale.trial_end is None:
        return [tag("p", sale.base, class_="big")]
    days = round((sale.trial_end - sale.books.now()) / DAY)
    return [
        tag("p", f"{words.count(days, 'day')} free", class_="big"),
        tag("p", f"then {sale.base}"),
        tag(
            "p",
            f"The first payment is on {words.day(sale.trial_end)}. Until then you can cancel and "
            "pay nothing.",
            class_="quiet",
        ),
    ]


def _form(sale: Sale, typed: Fields, wrong: Mapping[str, str]) -> Html:
    known = sale.email
    email = (
        tag("p", f"for {known}", class_="quiet")
        if known
        else card.text(
            "email",
            "Email",
            wrong,
            value=typed.get("email", ""),
            type="email",
            autocomplete="email",
        )
    )
    return joined(
        tag(
            "form",
            tag("h2", "Pay by card"),
            email,
            card.inputs(typed, wrong),
            tag(
                "button",
                "Start trial" if sale.trial_end else "Pay and subscribe",
                class_="main full",
            ),
            method="post",
            action=sale.path,
            class_="card",
        ),
        tag("section", card.note(), class_="card"),
    )


def _over(sale: Sale) -> Response:
    """What is said to whoever comes back to a page that has served."""
    if sale.session["status"] == "complete":
        return page(
            "This is done",
            tag("p", "The subscription was taken out on this page. Nothing is left to do here."),
            tag("p", link(sale.success, "Go on", class_="button main")),
            width="narrow",
        )
    return page(
        "This page has expired",
        tag("p", "Nothing was paid. Start again from where you came."),
        tag("p", link(sale.session["cancel_url"], "Back", class_="button main")),
        status=HTTPStatus.GONE,
        width="narrow",
    )


def _back(sale: Sale) -> Response:
    return see(sale.success) if sale.session["status"] == "complete" else _over(sale)
