"""Signing in: sign in, sign up, reset a password, follow an email link."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.account import components


def login() -> rx.Component:
    return layout.public_page(components.sign_in(), with_links=False)


def signup() -> rx.Component:
    return layout.public_page(components.sign_up(), with_links=False)


def reset() -> rx.Component:
    return layout.public_page(components.reset(), with_links=False)


def confirm() -> rx.Component:
    return layout.public_page(components.confirm(), with_links=False)
