"""What the portal shows: a plan, the question before it is canceled, the card, the invoices."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import Response

from devstack.stripe_fake import invoices
from devstack.stripe_fake.books import Object
from devstack.stripe_fake.pages import card, words
from devstack.stripe_fake.pages.frame import link, notice, page
from devstack.stripe_fake.pages.html import Html, tag
from devstack.stripe_fake.pages.routing import Fields
from devstack.stripe_fake.pages.visit import Visit
from devstack.stripe_fake.standing import FINAL, period
from devstack.stripe_fake.subscription_items import metered

INVOICES = 24
TOLD = {
    "canceled": "The plan is canceled.",
    "resumed": "The plan goes on.",
    "card": "The new card is used from now on.",
    "paid": "The invoice is paid. Thank you.",
    "failed": "The card was declined. Change the card, then try again.",
    "unconfirmed": "The payment was not confirmed. Try again, or change the card.",
}
WRONG = frozenset({"failed", "unconfirmed"})
SCHEDULED = "The plan changes when the period ends. To cancel it, keep it first, in the product."
NO_CHANGE = "A plan that goes by usage can't be changed here. Change it in the product."


def outcome(told: str) -> Html | None:
    """What a form has brought about, by the word in the address."""
    if told not in TOLD:
        return None
    return notice(TOLD[told], wrong=told in WRONG)


def plan_section(visit: Visit, subscription: Object) -> Html:
    books, path = visit.books, visit.path
    items: Sequence[Object] = subscription["items"]["data"]
    prices = [item["price"] for item in items]
    goes_on = subscription["status"] not in FINAL
    return tag(
        "section",
        tag("h2", words.plan_name(books, subscription), " ", words.state(subscription["status"])),
        *(
            tag("p", words.base_terms(item["price"], item["quantity"]))
            for item in items
            if not metered(item["price"])
        ),
        *(
            tag("p", "; ".join(words.usage_terms(books, price)), class_="quiet")
            for price in prices
            if metered(price)
        ),
        tag("p", words.sentence(words.what_comes(subscription)), class_="comes"),
        _cancel_or_resume(path, subscription)
        if goes_on and visit.offers("subscription_cancel")
        else None,
        tag("p", NO_CHANGE, class_="quiet")
        if goes_on and any(metered(price) for price in prices)
        else None,
        class_="card",
    )


def _cancel_or_resume(path: str, subscription: Object) -> Html:
    given = subscription["id"]
    if subscription["schedule"]:
        return tag("p", SCHEDULED, class_="quiet")
    if subscription["cancel_at"] is not None:
        return tag(
            "form",
            tag("button", "Resume plan", class_="main"),
            method="post",
            action=f"{path}/resume/{given}",
            class_="row",
        )
    return tag("p", link(f"{path}/cancel/{given}", "Cancel plan", class_="button"))


def cancel_question(visit: Visit, subscription: Object) -> Response:
    plan, end = (
        words.plan_name(visit.books, subscription),
        words.day(period(subscription)[1]),
    )
    at_once = visit.feature("subscription_cancel")["mode"] == "immediately"
    return page(
        f"Cancel {plan}?",
        tag(
            "form",
            tag("p", f"{plan} ends at once." if at_once else f"{plan} stays yours until {end}."),
            tag("p", "What was used beyond the included amount is still billed.", class_="quiet"),
            tag(
                "div",
                tag(
                    "button",
                    "Cancel now" if at_once else "Cancel at the end of the period",
                    class_="main",
                ),
                link(visit.path, "Keep the plan", class_="button"),
                class_="row",
            ),
            method="post",
            action=f"{visit.path}/cancel/{subscription['id']}",
            class_="card",
        ),
        width="narrow",
    )


def card_section(visit: Visit) -> Html:
    method = card.on_file(visit.books, visit.customer)
    return tag(
        "section",
        tag("h2", "Card"),
        tag("p", card.in_words(method) if method else "No invoices yet."),
        tag(
            "p",
            link(f"{visit.path}/card", "Change card" if method else "Add card", class_="button"),
        ),
        class_="card",
    )


def card_form(visit: Visit, typed: Fields, wrong: Mapping[str, str]) -> Response:
    visit.require("payment_method_update")
    return page(
        "Change card",
        tag("p", link(visit.path, "← Back to billing")),
        tag(
            "form",
            card.inputs(typed, wrong),
            tag("button", "Save card", class_="main full"),
            method="post",
            action=f"{visit.path}/card",
            class_="card",
        ),
        tag("section", card.note(), class_="card"),
        status=HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
        width="narrow",
    )


def invoices_section(visit: Visit) -> Html:
    found = [
        each
        for each in reversed(visit.books.all(invoices.KIND, customer=visit.customer["id"]))
        if each["status"] != "draft"
    ][:INVOICES]
    return tag(
        "section",
        tag("h2", "Invoices"),
        tag("div", *(_invoice(visit, each) for each in found))
        if found
        else tag("p", "No invoices yet."),
        class_="card",
        id="invoices",
    )


def _invoice(visit: Visit, invoice: Object) -> Html:
    way = f"/invoice/{invoice['id']}?portal={visit.session['id']}"
    return tag(
        "div",
        tag(
            "p",
            link(way, invoice["number"]),
            tag("span", f" of {words.day(invoice['created'])}", class_="quiet"),
        ),
        tag(
            "p",
            words.money(invoice["total"], invoice["currency"]),
            " ",
            words.state(invoice["status"]),
            class_="amount",
        ),
        tag(
            "form",
            tag(
                "button",
                "Pay now",
                tag("span", f" {invoice['number']}", class_="unseen"),
                class_="main",
            ),
            method="post",
            action=f"{visit.path}/pay/{invoice['id']}",
        )
        if invoice["status"] == "open"
        else None,
        class_="switch bill",
    )
