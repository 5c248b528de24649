"""The billing portal: the plan, the card, the invoices, as far as its configuration offers them.

Nothing here changes a plan: Stripe's portal doesn't where a price goes by usage.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from devstack.stripe_fake import engine, invoices, payment_methods, standing
from devstack.stripe_fake.pages import card, confirm
from devstack.stripe_fake.pages import portal_sections as sections
from devstack.stripe_fake.pages.frame import page
from devstack.stripe_fake.pages.invoice import confirm_address
from devstack.stripe_fake.pages.routing import Fields, see, shown, submitted
from devstack.stripe_fake.pages.visit import Visit
from devstack.stripe_fake.payment_methods import CardDeclined
from devstack.stripe_fake.services import Services


def routes(services: Services) -> list[BaseRoute]:
    books = services.books

    async def show(request: Request) -> Response:
        visit = Visit(books, request)
        told = request.query_params.get("told", "")
        return page(
            "Billing",
            visit.way_back(),
            sections.outcome(told),
            *(sections.plan_section(visit, each) for each in visit.subscriptions()),
            sections.card_section(visit) if visit.offers("payment_method_update") else None,
            sections.invoices_section(visit) if visit.offers("invoice_history") else None,
        )

    async def ask_to_cancel(request: Request) -> Response:
        visit = Visit(books, request)
        return sections.cancel_question(visit, visit.subscription("subscription_cancel"))

    async def cancel(request: Request, _fields: Fields) -> Response:
        visit = Visit(books, request)
        subscription = visit.subscription("subscription_cancel")
        with books.transaction():
            if visit.feature("subscription_cancel")["mode"] == "immediately":
                engine.cancel_now(books, subscription)
            else:
                # In the flexible mode only the instant says so.
                classic = subscription["billing_mode"]["type"] == "classic"
                end = standing.period(subscription)[1]
                engine.set_cancel_at(books, subscription, end, at_period_end=classic)
        return visit.back("canceled")

    async def resume(request: Request, _fields: Fields) -> Response:
        visit = Visit(books, request)
        subscription = visit.subscription("subscription_cancel")
        with books.transaction():
            engine.set_cancel_at_period_end(books, subscription, False)
        return visit.back("resumed")

    async def ask_for_card(request: Request) -> Response:
        return sections.card_form(Visit(books, request), {}, {})

    async def change_card(request: Request, fields: Fields) -> Response:
        visit = Visit(books, request)
        visit.require("payment_method_update")
        given = card.read(fields)
        if isinstance(given, dict):
            return sections.card_form(visit, fields, given)
        try:
            with books.transaction():
                method = card.method_of(books, given)
                if not payment_methods.needs_action(method):
                    card.use(books, visit.customer, method)
        except CardDeclined as error:
            return sections.card_form(visit, fields, card.declined(error))
        if payment_methods.needs_action(method):
            return see(f"{visit.path}/card/{method['id']}")
        return visit.back("card")

    async def ask_to_confirm(request: Request) -> Response:
        visit = Visit(books, request)
        method = visit.unconfirmed_card()
        return confirm.question(
            f"Charging the {card.in_words(method)}", f"{visit.path}/card/{method['id']}"
        )

    async def decide(request: Request, fields: Fields) -> Response:
        visit = Visit(books, request)
        method = visit.unconfirmed_card()
        if not confirm.confirmed(fields):
            return sections.card_form(visit, {}, {card.WHOLE: confirm.REFUSED})
        with books.transaction():
            card.use(books, visit.customer, books.save(method | {"_authenticated": True}))
        return visit.back("card")

    async def pay(request: Request, _fields: Fields) -> Response:
        visit = Visit(books, request)
        invoice = visit.invoice()
        # The invoice's own card may be the one that was declined, of a plan that has ended since.
        method = card.on_file(books, visit.customer)
        with books.transaction():
            outcome = invoices.pay(books, invoice, method)
        if outcome == "action":
            return see(confirm_address(invoice, visit.session["id"], method))
        return visit.back(outcome)

    return [
        shown("/portal/{session}", show),
        shown("/portal/{session}/cancel/{subscription}", ask_to_cancel),
        submitted("/portal/{session}/cancel/{subscription}", cancel),
        submitted("/portal/{session}/resume/{subscription}", resume),
        shown("/portal/{session}/card", ask_for_card),
        submitted("/portal/{session}/card", change_card),
        shown("/portal/{session}/card/{method}", ask_to_confirm),
        submitted("/portal/{session}/card/{method}", decide),
        submitted("/portal/{session}/pay/{invoice}", pay),
    ]
