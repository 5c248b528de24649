"""The billing portal: the plan, the card, the invoices, as far as its configuration offers them.

Nothing here changes a plan: Stripe's portal doesn't where a price goes by usage.
"""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from devstack.stripe_fake import engine, invoices, payment_methods, standing
from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.pages import card, confirm, words
from devstack.stripe_fake.pages.frame import page
from devstack.stripe_fake.pages.invoice import confirm_address
from devstack.stripe_fake.pages.routing import Fields, Notice, see, shown, submitted
from devstack.stripe_fake.pages.visit import Visit
from devstack.stripe_fake.payment_methods import CardDeclined
from devstack.stripe_fake.services import Services
from devstack.stripe_fake.subscription_items import metered

INVOICES = 24
NOTICES = {
    "canceled": Notice("The plan is canceled."),
    "resumed": Notice("The plan is resumed."),
    "card": Notice("The new card is used from now on."),
    "paid": Notice("The invoice is paid. Thank you."),
    "failed": Notice("The card was declined. Change the card, then try again.", wrong=True),
    "unconfirmed": Notice(
        "The payment was not confirmed. Try again, or change the card.", wrong=True
    ),
}


def routes(services: Services) -> list[BaseRoute]:
    books = services.books

    async def show(request: Request) -> Response:
        visit = Visit(books, request)
        return page(
            "portal",
            visit=visit,
            notice_shown=NOTICES.get(request.query_params.get("notice", "")),
            plans=[_plan(books, each) for each in visit.subscriptions()],
            on_file=card.on_file(books, visit.customer),
            invoices=_invoices(books, visit.customer),
        )

    async def ask_to_cancel(request: Request) -> Response:
        visit = Visit(books, request)
        subscription = visit.subscription("subscription_cancel")
        return page(
            "portal_cancel",
            visit=visit,
            action=f"{visit.path}/cancel/{subscription['id']}",
            plan=words.plan_name(books, subscription),
            end=standing.period(subscription)[1],
        )

    async def cancel(request: Request, _fields: Fields) -> Response:
        visit = Visit(books, request)
        subscription = visit.subscription("subscription_cancel")
        with books.transaction():
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
        return _card_form(Visit(books, request), {}, {})

    async def change_card(request: Request, fields: Fields) -> Response:
        visit = Visit(books, request)
        visit.require("payment_method_update")
        given = card.read(fields)
        if isinstance(given, dict):
            return _card_form(visit, fields, given)
        try:
            with books.transaction():
                method = card.method_of(books, given)
                if not payment_methods.needs_action(method):
                    card.use(books, visit.customer, method)
        except CardDeclined as error:
            return _card_form(visit, fields, card.declined(error))
        if payment_methods.needs_action(method):
            return see(f"{visit.path}/card/{method['id']}")
        return visit.back("card")

    async def ask_to_confirm(request: Request) -> Response:
        visit = Visit(books, request)
        method = visit.unconfirmed_card()
        return confirm.question(
            f"Charging the {words.card(method)}", f"{visit.path}/card/{method['id']}"
        )

    async def decide(request: Request, fields: Fields) -> Response:
        visit = Visit(books, request)
        method = visit.unconfirmed_card()
        if not confirm.confirmed(fields):
            return _card_form(visit, {}, {card.WHOLE: confirm.REFUSED})
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


def _plan(books: Books, subscription: Object) -> Object:
    items = subscription["items"]["data"]
    licensed = [item for item in items if not metered(item["price"])]
    return {
        "id": subscription["id"],
        "name": words.plan_name(books, subscription),
        "status": subscription["status"],
        "base": [words.base_terms(item["price"], item["quantity"]) for item in licensed],
        "usage": [
            "; ".join(words.usage_terms(books, item["price"]))
            for item in items
            if item not in licensed
        ],
        "comes": words.sentence(words.what_comes(subscription)),
        "live": subscription["status"] not in standing.FINAL,
        "scheduled": subscription["schedule"],
        "ends": subscription["cancel_at"] is not None,
    }


def _invoices(books: Books, customer: Object) -> list[Object]:
    found = books.all(invoices.KIND, customer=customer["id"])
    return [each for each in reversed(found) if each["status"] != "draft"][:INVOICES]


def _card_form(visit: Visit, typed: Fields, wrong: Mapping[str, str]) -> Response:
    visit.require("payment_method_update")
    return page("portal_card", visit=visit, typed=typed, wrong=wrong, cards=card.to_try())
