"""What a suspended account sees instead of its pages, and what it may still do."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes
from aisaas.ui.browser import SignOut


def page() -> rx.Component:
    return layout.public_page(
        rx.el.section(
            rx.el.h1("Your account is suspended"),
            rx.el.p(
                "You can't use the chat right now. You can still pay your bills, export your data, and "
                "sign out. To have the suspension reviewed, contact support.",
                class_name="lead",
            ),
            rx.el.div(
                rx.el.a("Billing", href=routes.BILLING, class_name="button button-primary"),
                rx.el.a("Export your data", href=routes.EXPORT, download=True, class_name="button"),
                SignOut.create(action=routes.SIGN_OUT),
                class_name="hero-actions",
            ),
            class_name="nowhere",
        ),
        with_links=False,
    )
