"""Checkout: what is bought, a card for it, and the way back.

Invariant: a session is completed once, however often its form is sent; a card that is refused leaves
it open.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from aisaas.embedded.payments import checkout, customers, payment_methods, subscriptions
from aisaas.embedded.payments.books import Books, Object
from aisaas.embedded.payments.errors import missing_resource
from aisaas.embedded.payments.invoice_lines import name_of
from aisaas.embedded.payments.pages import card, confirm, words
from aisaas.embedded.payments.pages.frame import link, page
from aisaas.embedded.payments.pages.html import Html, joined, tag
from aisaas.embedded.payments.pages.routing import Fields, see, shown, submitted
from aisaas.embedded.payments.payment_methods import CardDeclined
from aisaas.embedded.payments.periods import DAY
from aisaas.embedded.payments.services import Services
from aisaas.embedded.payments.subscription_items import metered

NO_EMAIL = "Enter an address like name@example.com."
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
BACK = "← Back without subscribing"
# What the address to come back to may have in it.
SESSION_ID = "{CHECKOUT_SESSION_ID}"


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
        shown("/checkout/{session}/confirm", ask),
        submitted("/checkout/{session}/confirm", decide),
    ]


class Sale:
    """A session, and what is to be said of it."""

    def __init__(self, books: Books, request: Request) -> None:
        self.books = books
        self.session = books.need(checkout.KIND, request.path_params["session"])
        self.path = f"/checkout/{self.session['id']}"
        items: Sequence[Object] = self.session["_items"]
        self.priced = [
            (books.need("price", item["price"]), item.get("quantity") or 1) for item in items
        ]

    @property
    def open(self) -> bool:
        # It is put down as expired by itself, a moment after it has.
        return self.session["status"] == "open" and self.session["expires_at"] > self.books.now()

    @property
    def base(self) -> str:
        return " + ".join(words.base_terms(*each) for each in self.licensed)

    @property
    def licensed(self) -> list[tuple[Object, int]]:
        return [each for each in self.priced if not metered(each[0])]

    @property
    def usage(self) -> list[str]:
        by_usage = [price for price, _ in self.priced if metered(price)]
        return [term for price in by_usage for term in words.usage_terms(self.books, price)]

    @property
    def plan(self) -> str:
        of = [price for price, _ in self.licensed or self.priced[:1]]
        return " and ".join(name_of(self.books, price) for price in of)

    @property
    def trial_end(self) -> int | None:
        return subscriptions.trial_end(self.books, self.session["_subscription_data"])

    @property
    def due_today(self) -> str:
        return words.money(self.session["amount_total"], self.session["currency"])

    @property
    def email(self) -> str | None:
        if not self.session["customer"]:
            return self.session["customer_email"]
        return customers.living(self.books, self.session["customer"])["email"]

    @property
    def success(self) -> str:
        return str(self.session["success_url"]).replace(SESSION_ID, self.session["id"])

    def confirm_address(self, method: Object) -> str:
        return f"{self.path}/confirm?method={method['id']}"

    def method(self, request: Request) -> Object:
        """The card that was typed in before: nobody's yet, or the customer's already."""
        given = request.query_params.get("method", "")
        found = self.books.need(payment_methods.KIND, given, "payment_method")
        if found["customer"] not in (None, self.session["customer"]):
            raise missing_resource("payment_method", given, "payment_method")
        return found


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
            tag("div", _bought(sale)),
            tag("div", _form(sale, typed, wrong)),
            class_="columns",
        ),
        status=HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
        width="wide",
        leads_to=(sale.success,),
    )


def _bought(sale: Sale) -> Html:
    return tag(
        "section",
        *_price(sale),
        tag("ul", *(tag("li", term) for term in sale.usage)) if sale.usage else None,
        tag("p", "What goes beyond is billed at the end of each period.", class_="quiet")
        if sale.usage
        else None,
        tag(
            "table",
            tag(
                "tr",
                tag("th", "Total due today", scope="row"),
                tag("td", sale.due_today, class_="amount"),
            ),
            class_="total",
        ),
        class_="card",
    )


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
