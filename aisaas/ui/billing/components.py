"""The parts of the billing page."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import reflex as rx

from aisaas.ui import forms, layout
from aisaas.ui.amounts import GaugeView
from aisaas.ui.billing import bills, offers
from aisaas.ui.billing.bills import BillView, InvoiceView, LineView
from aisaas.ui.billing.offers import OfferView
from aisaas.ui.billing.state import Billing
from aisaas.ui.browser import CheckoutReturn, PayButton, SavedInput
from aisaas.ui.notices import Notices

INVOICE = (("Number", ""), ("Date", ""), ("Amount", "number"), ("Status", ""), ("Documents", ""))


def notices() -> rx.Component:
    """Stays in view while scrolling: the buttons are all over the page."""
    return rx.el.div(
        layout.refusal(),
        CheckoutReturn.create(
            stage=Billing.arriving, plan=Billing.plan.label, on_done=Billing.await_plan
        ),
        class_name="page-notices",
    )


def plan() -> rx.Component:
    view = Billing.plan
    return rx.el.section(
        rx.el.h2("Plan"),
        rx.el.p(
            rx.el.span(view.label, class_name="figure"),
            " ",
            rx.el.span(view.price, class_name="figure-unit"),
        ),
        rx.el.p(layout.dated(view.status), class_name="plan-status"),
        _includes(view.includes),
        rx.cond(view.manageable, _to_portal("Manage plan, card, and invoices")),
        class_name="card",
        custom_attrs={"data-standing": view.standing},
    )


def _includes(lines: rx.Var[list[str]] | list[str]) -> rx.Component:
    return rx.el.ul(rx.foreach(lines, lambda line: rx.el.li(line, key=line)), class_name="includes")


def _to_portal(label: rx.Var[str] | str) -> rx.Component:
    return _pay(label, Billing.open_portal)


def _pay(label: layout.Text, event: Any, class_name: str = "button") -> rx.Component:
    return PayButton.create(
        label=label,
        while_opening="Opening…",
        class_name=class_name,
        refusal=Notices.refusal,
        on_press=event,
    )


def period() -> rx.Component:
    view = Billing.usage
    return rx.el.section(
        rx.el.h2("This period"),
        rx.el.p(
            rx.el.span(view.used, class_name="figure"),
            " ",
            rx.el.span("of ", view.limit, " included tokens used", class_name="figure-unit"),
        ),
        _gauge(view.included),
        rx.el.dl(
            rx.cond(view.credits, _fact("Including credits", view.credits)),
            _fact("Remaining", view.left),
            _fact("Reserved for running replies", view.held),
            _fact("Period ends", layout.when(view.ends_at)),
            class_name="facts-list",
        ),
        rx.cond(
            view.beyond,
            rx.el.div(
                rx.el.h3("Extra usage"),
                rx.el.p(
                    rx.el.span(view.spent, class_name="figure"),
                    " ",
                    rx.el.span("of your ", view.cap, " cap", class_name="figure-unit"),
                ),
                _gauge(view.overage),
                rx.el.p(view.beyond_tokens, class_name="quiet"),
                class_name="card-part",
            ),
        ),
        class_name="card",
    )


def _gauge(view: GaugeView) -> rx.Component:
    return rx.el.div(
        rx.el.div(layout.bar(view.percent), class_name="gauge-bar", aria_hidden="true"),
        rx.el.p(view.words, class_name="level"),
        class_name="gauge",
        custom_attrs={"data-level": view.level},
    )


def _fact(name: rx.Var[str] | str, value: rx.Var[str] | str | rx.Component) -> rx.Component:
    return rx.el.div(rx.el.dt(name), rx.el.dd(value))


def cap() -> rx.Component:
    view = Billing.cap
    return rx.cond(
        Billing.plan.paid,
        rx.el.section(
            rx.el.h2("Spending cap"),
            rx.el.p(
                "You pay up to ",
                rx.el.strong(view.current),
                rx.cond(view.own, " per period", " per period (your plan's default)"),
                " for extra usage, beyond the tokens in your plan. When you reach the cap, you can't "
                "send messages until you raise it or the period renews.",
            ),
            rx.cond(view.note, rx.el.p(view.note, class_name="quiet")),
            _cap_form(),
            class_name="card",
        ),
    )


def _cap_form() -> rx.Component:
    problem, own = Billing.cap_problem, Billing.cap
    plain = rx.el.p("Set to 0 to turn off extra usage.", id="cap-said", class_name="hint")
    return rx.el.form(
        rx.el.div(
            rx.el.label("Spending cap in USD", html_for="cap"),
            SavedInput.create(
                id="cap",
                name="usd",
                value=own.value,
                saved=Billing.cap_saved,
                auto_complete="off",
                input_mode="decimal",
                max_length=12,
                custom_attrs={"aria-invalid": problem != "", "aria-describedby": "cap-said"},
            ),
            rx.cond(
                problem,
                rx.el.p(problem, id="cap-said", class_name="field-problem", role="alert"),
                plain,
            ),
            class_name="field cap-field",
        ),
        rx.el.div(
            rx.el.button("Save cap", type="submit", class_name="button"),
            rx.cond(
                own.own,
                rx.el.button(
                    "Use the plan's default, ",
                    own.default,
                    type="button",
                    class_name="text-button",
                    on_click=Billing.reset_cap,
                ),
            ),
            class_name="row-of-buttons",
        ),
        forms.status(
            (Billing.cap_saved > 0) & (problem == ""), "Saved. Applies from your next message."
        ),
        on_submit=_save_cap,
        no_validate=True,
        class_name="settings-form",
    )


def _save_cap(form: rx.Var[dict[str, str]]) -> Any:
    return Billing.save_cap(form.to(dict)["usd"])


def next_invoice() -> rx.Component:
    estimate, preview = Billing.estimate, Billing.preview
    return rx.cond(
        estimate.stage == bills.SHOWN,
        rx.el.section(
            rx.el.h2("Next invoice"),
            rx.el.p("Estimate so far, before tax. Due ", layout.when(estimate.due_at), "."),
            _bill(estimate, "Total before tax"),
            rx.el.div(
                rx.el.h3("Stripe's preview"),
                rx.match(
                    preview.stage,
                    (bills.SHOWN, _bill(preview, "Total")),
                    (bills.NONE, _quiet("No upcoming invoice.")),
                    (
                        bills.AWAY,
                        _quiet(
                            "Stripe isn't responding, so there's no preview. The estimate above is our "
                            "own."
                        ),
                    ),
                    _loading("Loading Stripe's preview"),
                ),
                rx.cond(
                    preview.stage == bills.SHOWN,
                    _quiet("Your latest usage takes a little while to appear here."),
                ),
                class_name="card-part bill-part",
            ),
            class_name="card",
        ),
        rx.cond(Billing.plan.paid, _nothing_to_bill()),
    )


def _nothing_to_bill() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Next invoice"),
        rx.cond(
            Billing.estimate.stage == bills.WAITS,
            _quiet("You have an unpaid invoice. The next one follows once it's paid."),
            _quiet("No upcoming invoice. You don't have a subscription."),
        ),
        class_name="card",
    )


def _bill(view: BillView, total: str) -> rx.Component:
    return rx.el.dl(
        rx.foreach(view.lines, _line),
        rx.el.div(rx.el.dt(total), rx.el.dd(view.total), class_name="bill-total"),
        class_name="facts-list",
    )


def _line(line: LineView) -> rx.Component:
    return rx.el.div(rx.el.dt(line.label), rx.el.dd(line.amount), key=line.label)


def plans() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Plans"),
        rx.cond(
            Billing.choices,
            rx.el.ul(rx.foreach(Billing.choices, _offer), class_name="plans"),
            _quiet("Paid plans aren't available here."),
        ),
        class_name="card card-wide",
        id="plans",
    )


def _offer(offer: OfferView) -> rx.Component:
    return rx.el.li(
        rx.el.h3(offer.label, rx.cond(offer.current, rx.el.span("Your plan", class_name="tag"))),
        rx.el.p(offer.price, class_name="plan-price"),
        _includes(offer.includes),
        rx.cond(offer.trial, rx.el.p(offer.trial, class_name="plan-trial")),
        rx.cond(offer.note, _quiet(offer.note)),
        rx.match(
            offer.action,
            (
                offers.CHOOSE,
                _pay(offer.button, Billing.choose(offer.id), "button button-primary"),
            ),
            (
                offers.SWITCH,
                PayButton.create(
                    rx.el.p(offer.explanation),
                    label=offer.button,
                    while_opening="Switching…",
                    class_name="button",
                    title=offer.title,
                    arriving=Billing.arriving,
                    refusal=Notices.refusal,
                    on_press=Billing.switch(offer.id),
                ),
            ),
            (
                offers.KEEP,
                rx.el.button(
                    offer.button, type="button", class_name="button", on_click=Billing.keep_plan
                ),
            ),
            (offers.PORTAL, _to_portal(offer.button)),
            rx.fragment(),
        ),
        key=offer.id,
        class_name="plan",
        custom_attrs={"data-current": offer.current},
    )


def invoices() -> rx.Component:
    view = Billing.invoices
    return rx.el.section(
        rx.el.h2("Invoices"),
        rx.match(
            view.stage,
            (
                bills.SHOWN,
                rx.cond(
                    view.rows,
                    layout.table(INVOICE, rx.foreach(view.rows, _invoice), "Invoices"),
                    _quiet("No invoices yet."),
                ),
            ),
            (bills.AWAY, _quiet("Stripe isn't responding. Reload the page to try again.")),
            _loading("Loading invoices"),
        ),
        class_name="card card-wide",
    )


def _invoice(row: InvoiceView) -> rx.Component:
    return layout.row(
        INVOICE,
        row.number,
        layout.when(row.at),
        row.amount,
        row.status,
        rx.el.span(
            rx.cond(row.url, _document("View", row.url, row.number)),
            rx.cond(row.pdf, _document("PDF", row.pdf, row.number)),
            class_name="documents",
        ),
        key=row.id,
    )


def _document(name: str, href: rx.Var[str] | str, number: rx.Var[str] | str) -> rx.Component:
    """In a tab of its own: the provider's page has no way back."""
    return rx.el.a(
        name,
        rx.el.span(" invoice ", number, class_name="visually-hidden"),
        href=href,
        target="_blank",
        rel="noreferrer",
    )


def _quiet(words: layout.Text) -> rx.Component:
    return rx.el.p(words, class_name="quiet")


def _loading(label: str) -> rx.Component:
    line = rx.el.div(class_name="skeleton")
    return rx.el.div(line, line, class_name="waiting-lines", role="status", aria_label=label)
