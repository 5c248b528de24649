"""Sign in, and sign up."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.account.components import auth_card


def login() -> rx.Component:
    return layout.public_page(
        auth_card("sign-in", "Welcome back", "Your conversations are where you left them.")
    )


def signup() -> rx.Component:
    return layout.public_page(
        auth_card("sign-up", "Make an account", "Free to start, no card, a clear limit.")
    )
