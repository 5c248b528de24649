"""Getting in: sign in, sign up, a forgotten password, a mail's link. The forms say what they are."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.account.state import Recovery
from aisaas.ui.browser import AuthForm, Confirm
from aisaas.ui.settings import APP_NAME


def login() -> rx.Component:
    return layout.public_page(AuthForm.create(mode="sign-in"), with_links=False)


def signup() -> rx.Component:
    return layout.public_page(AuthForm.create(mode="sign-up", product=APP_NAME), with_links=False)


def reset() -> rx.Component:
    return layout.public_page(
        AuthForm.create(
            mode="reset", standing=Recovery.standing, email=Recovery.email, product=APP_NAME
        ),
        with_links=False,
    )


def confirm() -> rx.Component:
    return layout.public_page(Confirm.create(), with_links=False)
