"""The public page: what this is, and how it keeps a bill from running away."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes
from aisaas.ui.browser import MailboxHint, Prices
from aisaas.ui.settings import APP_NAME

STEPS = (
    ("Who is it?", "Every message is tied to a signed-in account, checked again on each send."),
    ("How often?", "A steady pace per person, by the minute and by the day. Never by IP address."),
    ("Is there room?", "The most a reply could cost is set aside before the model is called."),
    ("Is it sane?", "Daily ceilings for free accounts and for everybody hold whatever happens."),
)
RECEIPT = (
    ("Signed in", "Ada"),
    ("This minute", "4 of 10"),
    ("This month", "248 of 10,000"),
    ("Today, all free accounts", "$1.12 of $5"),
)
PROMISES = (
    (
        "Counted once",
        "Each token that was produced lands in one ledger line, with its price and a receipt. A crash in the middle of a reply doesn't lose it, and doesn't bill it twice.",
    ),
    (
        "Refused kindly",
        "When the answer is no, you read why and when to come back. What you wrote stays where you wrote it, and nothing is used.",
    ),
    (
        "Yours alone",
        "The database itself keeps accounts apart. Keys for models and payments never reach a browser.",
    ),
)


def page() -> rx.Component:
    return layout.public_page(
        _hero(),
        _door(),
        _promises(),
        Prices.create(),
        _closing(),
        links=(rx.el.a("Sign in", href=routes.LOGIN, class_name="bar-link"),),
    )


def _hero() -> rx.Component:
    return rx.el.section(
        rx.el.div(
            rx.el.p("AI chat with a spending conscience", class_name="eyebrow"),
            rx.el.h1("Talk to good models. Never wake up to a bad bill."),
            rx.el.p(
                f"{APP_NAME} puts a firewall between curiosity and cost: no model is called before "
                "identity, pace, allowance and spending limits have all said yes.",
                class_name="lead",
            ),
            rx.el.div(
                rx.el.a("Start for free", href=routes.SIGNUP, class_name="button button-primary"),
                rx.el.a("I have an account", href=routes.LOGIN, class_name="button"),
                class_name="hero-actions",
            ),
            MailboxHint.create(),
        ),
        _receipt(),
        class_name="hero hero-with-receipt",
    )


def _receipt() -> rx.Component:
    """One message's way through the firewall, as an example."""
    return rx.el.aside(
        rx.el.p("One message, for example", class_name="receipt-title"),
        rx.el.dl(*(rx.el.div(rx.el.dt(check), rx.el.dd(value)) for check, value in RECEIPT)),
        rx.el.p(rx.el.span("178 tokens"), rx.el.span("$0.000078"), class_name="receipt-total"),
        rx.el.p(
            "The eleventh in a minute waits for 0:24, and costs nothing.", class_name="receipt-note"
        ),
        class_name="receipt",
        aria_label="Example of a receipt",
    )


def _door() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Four questions, then an answer"),
        rx.el.ol(
            *(rx.el.li(rx.el.h3(title), rx.el.p(text), class_name="step") for title, text in STEPS),
            class_name="steps",
        ),
        rx.el.p(
            "All four take a few milliseconds. Only then does the first word start to stream.",
            class_name="aside",
        ),
        class_name="band",
    )


def _promises() -> rx.Component:
    return rx.el.section(
        rx.el.h2("What you can rely on"),
        rx.el.div(
            *(
                rx.el.div(rx.el.h3(title), rx.el.p(text), class_name="promise")
                for title, text in PROMISES
            ),
            class_name="promises",
        ),
        class_name="band",
    )


def _closing() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Every month starts with tokens on the house"),
        rx.el.p("No card needed. You always see what is left, and what each reply took."),
        rx.el.a("Make an account", href=routes.SIGNUP, class_name="button button-primary"),
        class_name="band closing",
    )
