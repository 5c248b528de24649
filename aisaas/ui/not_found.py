"""For addresses that lead nowhere."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes


def page() -> rx.Component:
    return layout.public_page(
        rx.el.section(
            rx.el.p("404", class_name="eyebrow"),
            rx.el.h1("There is nothing at this address"),
            rx.el.p("The link may be old, or a letter got lost on the way.", class_name="lead"),
            rx.el.div(
                rx.el.a("Go to chat", href=routes.CHAT, class_name="button button-primary"),
                rx.el.a("Start page", href=routes.HOME, class_name="button"),
                class_name="hero-actions",
            ),
            class_name="hero",
        )
    )
