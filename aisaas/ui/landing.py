"""The public page: what the chat can do, and how it keeps a bill from running away."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import forms, layout, routes
from aisaas.ui.settings import APP_NAME
from aisaas.ui.site import PlanOnSale, site

DESCRIPTION = (
    f"{APP_NAME} gives you leading AI models in one chat. You decide how much to spend, and every reply "
    "stays within your limit."
)
FEATURES = (
    (
        "The right model for the job",
        "Switch models at any point in a conversation. If one is down, another answers and says so.",
    ),
    (
        "Code, tables, and formulas",
        "Replies are formatted while they stream. Copy a code block or a table with one click.",
    ),
    (
        "Nothing gets lost",
        "Close the tab or lose your connection: the reply keeps running, and your draft stays put.",
    ),
    (
        "Usage you can see",
        "Your remaining tokens are on every page, and each reply shows how many it used.",
    ),
)
CHECKS = (
    ("Identity", "Every message belongs to a signed-in account. We check it again on each send."),
    ("Pace", "Each account has a limit per minute and per day, so nobody can drain the service."),
    ("Allowance", "We set aside the most a reply could cost before we call the model."),
    ("Spending cap", "Daily caps stop all spending when they are reached, whatever happens."),
)
PROMISES = (
    (
        "Every token is counted once",
        "Each reply adds one line to your usage. A crash never loses it or bills it twice.",
    ),
    (
        "Clear answers when it’s a no",
        "You see why a message was refused and when to try again. Your text stays in the box, and "
        "nothing is charged.",
    ),
    (
        "Your conversations are yours",
        "The database itself keeps accounts apart. API keys and payment details never reach a "
        "browser.",
    ),
)
# Name, width and height of the pictures of the product, each in a light and a dark one.
WIDE = ("chat", 1200, 750)
NARROW = ("chat-phone", 390, 780)
NARROW_MEDIA = "(max-width: 40rem)"


def page() -> rx.Component:
    return layout.public_page(
        _hero(),
        _features(),
        _firewall(),
        _promises(),
        _prices(),
        _closing(),
    )


def _hero() -> rx.Component:
    return rx.el.section(
        rx.el.div(
            rx.el.h1("Chat with the best AI models. Never get a surprise bill."),
            rx.el.p(
                f"{APP_NAME} gives you leading models in one place. You decide how much to spend, and "
                "every reply stays within your limit.",
                class_name="lead",
            ),
            _actions(),
            _mailbox_hint(),
            class_name="hero-words",
        ),
        rx.el.div(_picture("light"), _picture("dark"), class_name="product"),
        class_name="hero",
    )


def _actions() -> rx.Component:
    return rx.el.div(
        rx.el.a(
            "Start for free",
            href=routes.SIGNUP,
            class_name="button button-primary for-newcomers",
        ),
        rx.el.a("Sign in", href=routes.LOGIN, class_name="button for-visitors"),
        rx.el.a("Open chat", href=routes.CHAT, class_name="button button-primary for-members"),
        rx.el.a("View usage", href=routes.DASHBOARD, class_name="button for-members"),
        class_name="hero-actions",
    )


def _picture(scheme: str) -> rx.Component:
    """The product in one color scheme. The stylesheet shows the one that fits the page, which a reader
    may have chosen against the system's; the other isn't loaded."""
    name, width, height = WIDE
    narrow, narrow_width, narrow_height = NARROW
    return rx.el.picture(
        rx.el.source(
            src_set=f"/images/{narrow}-{scheme}.webp",
            media=NARROW_MEDIA,
            custom_attrs={"width": narrow_width, "height": narrow_height},
        ),
        rx.el.img(
            src=f"/images/{name}-{scheme}.webp",
            alt="A conversation: a question, and a reply with a table and code.",
            loading="lazy",
            # Reserves its room before it loads; as props they would become styles.
            custom_attrs={"width": width, "height": height},
        ),
        class_name=f"product-{scheme}",
    )


def _features() -> rx.Component:
    return _band(
        "Everything you need to get work done",
        rx.el.div(
            *(_part(title, text) for title, text in FEATURES), class_name="promises features"
        ),
    )


def _firewall() -> rx.Component:
    return _band(
        "Four checks before every reply",
        rx.el.p(
            "A billing firewall stands in front of the models. A message reaches one only after all "
            "four checks pass, which takes a few milliseconds.",
            class_name="band-lead",
        ),
        rx.el.ol(
            *(
                rx.el.li(rx.el.h3(title), rx.el.p(text), class_name="step")
                for title, text in CHECKS
            ),
            class_name="steps",
        ),
    )


def _promises() -> rx.Component:
    return _band(
        "What you can rely on",
        rx.el.div(*(_part(title, text) for title, text in PROMISES), class_name="promises"),
    )


def _mailbox_hint() -> rx.Component:
    """Of an install that sends no mails."""
    return rx.cond(
        site.mailbox_url,
        rx.el.p(
            "Email isn’t set up here. Messages go to the local ",
            forms.mailbox_link("mailbox", "quiet-link"),
            " instead.",
            class_name="hint",
        ),
    )


def _prices() -> rx.Component:
    """What the plans cost, of an install that sells any."""
    return rx.cond(
        site.plans,
        rx.el.section(
            rx.el.h2("Pricing", id="pricing-title"),
            rx.el.ul(rx.foreach(site.plans, _plan), class_name="plans"),
            class_name="band",
            id="pricing",
            aria_labelledby="pricing-title",
        ),
    )


def _plan(plan: PlanOnSale) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.h3(plan.label),
            rx.cond(plan.recommended, rx.el.span("Recommended", class_name="badge")),
            class_name="plan-name",
        ),
        rx.el.p(
            rx.cond(plan.overage, f"{plan.price} per month", plan.price), class_name="plan-price"
        ),
        rx.el.ul(
            rx.el.li(plan.tokens, " tokens per month"),
            rx.cond(
                plan.overage,
                rx.el.li("Extra usage: ", plan.overage, " per 1M tokens, up to a cap you set"),
                rx.el.li("No credit card required"),
            ),
            rx.cond(
                plan.trial_days > 0,
                rx.el.li(plan.trial_days, "-day free trial with ", plan.trial_tokens, " tokens"),
            ),
            class_name="includes",
        ),
        rx.cond(plan.overage, _choose(plan), _start(plan)),
        key=plan.label,
        class_name="plan plan-offer",
        custom_attrs={"data-recommended": plan.recommended},
    )


def _choose(plan: PlanOnSale) -> rx.Component:
    choose = f"Choose {plan.label}"
    newcomers = rx.cond(plan.trial_days > 0, f"Try {plan.label} for free", choose)
    return rx.fragment(
        _button(plan, newcomers, f"{routes.SIGNUP}?redirectTo={routes.BILLING}", "newcomers"),
        _button(plan, choose, f"{routes.LOGIN}?redirectTo={routes.BILLING}", "invited"),
        _button(plan, choose, routes.BILLING, "members"),
    )


def _start(plan: PlanOnSale) -> rx.Component:
    return rx.fragment(
        _button(plan, "Start for free", routes.SIGNUP, "newcomers"),
        _button(plan, "Sign in", routes.LOGIN, "invited"),
        _button(plan, "Open chat", routes.CHAT, "members"),
    )


def _button(plan: PlanOnSale, label: layout.Text, href: str, whom: str) -> rx.Component:
    kind = rx.cond(plan.recommended, "button button-primary button-wide", "button button-wide")
    return forms.link(label, href, kind.to(str) + f" for-{whom}")


def _closing() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Ready to start?"),
        rx.el.p("No credit card required.", class_name="for-newcomers"),
        _actions(),
        class_name="band closing",
    )


def _band(title: str, *content: rx.Component) -> rx.Component:
    return rx.el.section(rx.el.h2(title), *content, class_name="band")


def _part(title: str, text: str) -> rx.Component:
    return rx.el.div(rx.el.h3(title), rx.el.p(text), class_name="promise")
