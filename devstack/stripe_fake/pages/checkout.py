"""Checkout: the purchase, the card, and the way back.

Invariant: a session is completed once, however often its form is sent; a card that is refused leaves
it open.
"""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from devstack.stripe_fake import checkout
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.pages import card, confirm
from devstack.stripe_fake.pages.frame import message, page
from devstack.stripe_fake.pages.routing import Fields, see, shown, submitted
from devstack.stripe_fake.pages.sale import Sale
from devstack.stripe_fake.payment_methods import CardDeclined
from devstack.stripe_fake.services import Services

CODE = "promotion_code"
DONE = "You subscribed on this page. There is nothing left to do here."
EXPIRED = "Nothing was paid. Go back and start again."


def routes(services: Services) -> list[BaseRoute]:
    books = services.books

    async def show(request: Request) -> Response:
        sale = Sale(books, request)
        return _offer(sale, {}, {}) if sale.open else _over(sale)

    async def pay(request: Request, fields: Fields) -> Response:
        sale = Sale(books, request)
        if not sale.open:
            return _back(sale)
        given = card.read(fields)
        if isinstance(given, dict):
            return _offer(sale, fields, given)
        try:
            with books.transaction():
                method = card.method_of(books, given, sale.email)
                outcome = checkout.complete(books, sale.session, method)
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
        try:
            with books.transaction():
                checkout.complete(books, sale.session, method, authenticated=True)
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


def _offer(sale: Sale, typed: Fields, wrong: Mapping[str, str]) -> Response:
    return page(
        "checkout",
        leads_to=(sale.success,),
        sale=sale,
        typed=typed,
        wrong=wrong,
        cards=card.to_try(),
    )


def _over(sale: Sale) -> Response:
    """The response for a customer who returns to a finished session's page."""
    if sale.session["status"] == "complete":
        return message("This is done", DONE, way=(sale.success, "Go on"))
    way = (sale.session["cancel_url"], "Back")
    return message("This page has expired", EXPIRED, way=way, status=HTTPStatus.GONE)


def _back(sale: Sale) -> Response:
    return see(sale.success) if sale.session["status"] == "complete" else _over(sale)
