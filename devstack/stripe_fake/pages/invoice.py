"""An invoice as it is shown, printed and paid."""

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from devstack.stripe_fake import invoices, payment_methods
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.pages import card, confirm, words
from devstack.stripe_fake.pages.frame import page
from devstack.stripe_fake.pages.routing import Fields, Notice, see, shown, submitted
from devstack.stripe_fake.payment_methods import CardDeclined
from devstack.stripe_fake.services import Services

PORTAL = re.compile(r"bps_[A-Za-z0-9]+")
ON_FILE = "on_file"
PAID = "paid"
NOTICES = {
    PAID: Notice("The invoice is paid. Thank you."),
    "failed": Notice("The card was declined. Use another one.", wrong=True),
    "unconfirmed": Notice(confirm.REFUSED, wrong=True),
}


def routes(services: Services) -> list[BaseRoute]:
    books = services.books

    def invoice_of(request: Request) -> Object:
        return books.need(invoices.KIND, request.path_params["invoice"])

    async def show(request: Request) -> Response:
        notice = request.query_params.get("notice", "")
        return _shown(books, invoice_of(request), _visited(request), {}, {}, notice)

    async def show_for_printing(request: Request) -> Response:
        return page("invoice_print", **_sheet(books, invoice_of(request)))

    async def pay(request: Request, fields: Fields) -> Response:
        invoice, visited = invoice_of(request), _visited(request)
        if invoice["status"] != "open":
            return _go_on(invoice, visited, PAID if invoice["status"] == PAID else "")
        given = None if fields.get("with") == ON_FILE else card.read(fields)
        if isinstance(given, dict):
            return _shown(books, invoice, visited, fields, given)
        try:
            with books.transaction():
                method = card.method_of(books, given) if given else None
                if method:
                    payment_methods.attach_to(books, method, invoice["customer"])
                outcome = invoices.pay(books, invoice, method)
        except CardDeclined as error:
            return _shown(books, invoice, visited, fields, card.declined(error))
        if outcome == "action":
            return see(confirm_address(invoice, visited, method))
        return _go_on(invoice, visited, outcome)

    async def ask(request: Request) -> Response:
        invoice, visited = invoice_of(request), _visited(request)
        method = _method(books, request, invoice)
        if invoice["status"] != "open":
            return _go_on(invoice, visited, "")
        amount = words.money(invoice["amount_remaining"], invoice["currency"])
        return confirm.question(
            f"{amount} for {_title(invoice)}", confirm_address(invoice, visited, method)
        )

    async def decide(request: Request, fields: Fields) -> Response:
        invoice, visited = invoice_of(request), _visited(request)
        method = _method(books, request, invoice)
        if not confirm.confirmed(fields):
            return _go_on(invoice, visited, "unconfirmed")
        with books.transaction():
            outcome = invoices.pay(books, invoice, method, authenticated=True)
        return _go_on(invoice, visited, outcome)

    return [
        shown("/invoice/{invoice}", show),
        submitted("/invoice/{invoice}", pay),
        shown("/invoice/{invoice}/print", show_for_printing),
        shown("/invoice/{invoice}/confirm", ask),
        submitted("/invoice/{invoice}/confirm", decide),
    ]


def confirm_address(invoice: Object, visited: str, method: Object | None) -> str:
    """Where a payment is confirmed; `visited` is the session of the portal to go back to, if any."""
    return _address(invoice, visited, "/confirm", method=method["id"] if method else "")


def _visited(request: Request) -> str:
    """The portal session that the customer came from, if any."""
    given = request.query_params.get("portal", "")
    return given if PORTAL.fullmatch(given) else ""


def _address(invoice: Object, visited: str, below: str = "", **query: str) -> str:
    given = {name: text for name, text in {"portal": visited, **query}.items() if text}
    return f"/invoice/{invoice['id']}{below}{'?' if given else ''}{urlencode(given)}"


def _go_on(invoice: Object, visited: str, notice: str) -> Response:
    if visited:
        return see(f"/portal/{visited}?{urlencode({'notice': notice})}")
    return see(_address(invoice, visited, notice=notice))


def _method(books: Books, request: Request, invoice: Object) -> Object | None:
    """The card that the address names, which is the customer's; none names the one on file."""
    given = request.query_params.get("method", "")
    if not given:
        return None
    return payment_methods.for_customer(books, given, invoice["customer"], "method")


def _shown(
    books: Books,
    invoice: Object,
    visited: str,
    typed: Fields,
    wrong: Mapping[str, str],
    notice: str = "",
) -> Response:
    return page(
        "invoice",
        **_sheet(books, invoice),
        action=_address(invoice, visited),
        cards=card.to_try(),
        on_file=invoices.method_of(books, invoice),
        portal=visited,
        notice_shown=NOTICES.get(notice),
        typed=typed,
        wrong=wrong,
    )


def _title(invoice: Object) -> str:
    number = invoice.get("number")
    return f"Invoice {number}" if number else "Draft invoice"


def _sheet(books: Books, invoice: Object) -> Object:
    customer = books.get("customer", invoice["customer"]) or {}
    people = [invoice[f"customer_{name}"] or customer.get(name) for name in ("name", "email")]
    return {
        "title": _title(invoice),
        "invoice": invoice,
        "terms": [
            ("For", ", ".join(filter(None, people)) or invoice["customer"]),
            ("Date", words.day(invoice["created"])),
            ("Period", words.period(invoice["period_start"], invoice["period_end"])),
        ],
        "sums": _sums(invoice),
    }


def _sums(invoice: Object) -> list[tuple[str, int]]:
    total, due, paid = invoice["total"], invoice["amount_due"], invoice["amount_paid"]
    credit, left = max(total, 0) - due, invoice["amount_remaining"]
    off = sum(each["amount"] for each in invoice["total_discount_amounts"])
    sums = [("Subtotal", invoice["subtotal"]), ("Discount", -off)] if off else []
    sums += [("Total", total)]
    sums += [("From earlier credit", -credit)] if credit else []
    sums += [("Kept as credit", -total)] if total < 0 else []
    sums += [("Paid", paid)] if paid else []
    return [*sums, ("To be paid", left)] if left else sums
