"""The parts of the settings page."""

from __future__ import annotations

import reflex as rx
from reflex.style import color_mode, set_color_mode

from aisaas.ui import routes
from aisaas.ui.browser import (
    AddressForm,
    NameForm,
    OwnSessions,
    PasswordForm,
    PictureForm,
    Refusal,
)
from aisaas.ui.notices import Notices
from aisaas.ui.profile.state import Profile
from aisaas.ui.session import Session
from aisaas.ui.settings import APP_NAME

THEMES = (("system", "System"), ("light", "Light"), ("dark", "Dark"))


def refusal() -> rx.Component:
    return Refusal.create(refusal=Notices.refusal, on_dismiss=Notices.dismiss)


def profile() -> rx.Component:
    return _card(
        "Profile",
        PictureForm.create(
            picture=Session.picture, initials=Session.initials, on_changed=Profile.load
        ),
        NameForm.create(name=Profile.full_name, saved=Profile.saved, on_save=Profile.rename),
    )


def address() -> rx.Component:
    return _card("Email", AddressForm.create(email=Session.email))


def password() -> rx.Component:
    return _card(
        "Password",
        PasswordForm.create(email=Session.email, product=APP_NAME, on_changed=Profile.load),
    )


def sessions() -> rx.Component:
    return _card(
        "Sessions",
        OwnSessions.create(sessions=Profile.sessions, on_changed=Profile.load),
    )


def data() -> rx.Component:
    return _card(
        "Your data",
        rx.el.p(
            "Download your account and all your conversations as one JSON Lines file.",
            class_name="quiet",
        ),
        rx.el.a("Export your data", href=routes.EXPORT, download=True, class_name="button"),
    )


def colours() -> rx.Component:
    return _card(
        "Appearance",
        rx.el.fieldset(
            rx.el.legend("Appearance in this browser", class_name="visually-hidden"),
            *(_theme(value, label) for value, label in THEMES),
            class_name="choices",
        ),
    )


def _theme(value: str, label: str) -> rx.Component:
    return rx.el.label(
        rx.el.input(
            type="radio",
            name="appearance",
            value=value,
            checked=color_mode == value,
            on_change=set_color_mode(value),  # pyright: ignore[reportArgumentType]
        ),
        label,
        class_name="choice",
    )


def _card(title: str, *children: rx.Component) -> rx.Component:
    return rx.el.section(rx.el.h2(title), *children, class_name="card settings-card")
