"""The page for unknown addresses."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes


def page() -> rx.Component:
    return layout.public_page(
        rx.el.section(
            rx.el.p("404", class_name="eyebrow"),
            rx.el.h1("Page not found"),
            rx.el.p(
                "Check the address for typos. The page may also have moved or been deleted.",
                class_name="lead",
            ),
            rx.el.div(
                rx.el.a(
                    "Open chat", href=routes.CHAT, class_name="button button-primary for-members"
                ),
                rx.el.a("View usage", href=routes.DASHBOARD, class_name="button for-members"),
                rx.el.a(
                    "Go to the home page",
                    href=routes.HOME,
                    class_name="button button-primary for-visitors",
                ),
                rx.el.a("Sign in", href=routes.LOGIN, class_name="button for-visitors"),
                class_name="hero-actions",
            ),
            class_name="nowhere",
        )
    )
