"""The card around a form."""

from __future__ import annotations

import reflex as rx

from aisaas.ui.browser import AuthForm


def auth_card(mode: str, title: str, lead: str) -> rx.Component:
    return rx.el.section(
        rx.el.h1(title),
        rx.el.p(lead, class_name="auth-lead"),
        AuthForm.create(mode=mode),
        class_name="auth-card",
    )
