"""What pages share: the brand, the bar at the top, the allowance, the gate before protected pages."""

from __future__ import annotations

import reflex as rx
from reflex.state import OnLoadInternalState
from reflex_base.constants.state import FIELD_MARKER
from reflex_components_core.core.banner import connect_errors

from aisaas.ui import routes, theme
from aisaas.ui.browser import Gate, Offline, Refusal, SignOut, SiteNotice, When
from aisaas.ui.notices import Notices
from aisaas.ui.session import Session
from aisaas.ui.settings import APP_NAME


def brand() -> rx.Component:
    return rx.el.a(
        rx.el.span(class_name="brand-mark", aria_hidden="true"),
        rx.el.span(APP_NAME),
        href=routes.HOME,
        class_name="brand",
    )


def offline_banner() -> rx.Component:
    return Offline.create(errors=connect_errors)


def public_page(*children: rx.Component, links: tuple[rx.Component, ...] = ()) -> rx.Component:
    """A page for anybody."""
    return rx.el.div(
        rx.el.header(
            brand(),
            rx.el.nav(*links, theme.color_mode_button(), class_name="bar-links", aria_label="Site"),
            class_name="bar bar-public",
        ),
        rx.el.main(*children, id="content", class_name="public-main"),
        class_name="page",
    )


def bar(percent: rx.Var[int] | int) -> rx.Component:
    """A horizontal bar; drawn, because a width in a style would be one more inline style."""
    return rx.el.svg(
        rx.el.rect(width=percent, height=1),
        view_box="0 0 100 1",
        custom_attrs={"preserveAspectRatio": "none"},
    )


def meter() -> rx.Component:
    """How much of the allowance is used."""
    view = Session.meter
    return rx.el.div(
        rx.el.div(
            bar(view.percent),
            aria_label="Tokens used",
            class_name="meter-track",
            custom_attrs={
                "role": "meter",
                "aria-valuemin": 0,
                "aria-valuenow": view.used,
                "aria-valuemax": view.limit,
                "aria-valuetext": view.label,
            },
        ),
        rx.el.span(view.label, class_name="meter-label", aria_hidden="true"),
        class_name="meter",
        custom_attrs={"data-level": view.level},
    )


def avatar() -> rx.Component:
    """Beside the name, so it says nothing itself."""
    return rx.cond(
        Session.picture,
        rx.el.img(src=Session.picture, alt="", class_name="avatar"),
        rx.el.span(Session.initials, class_name="avatar", aria_hidden="true"),
    )


def account_menu() -> rx.Component:
    return rx.el.details(
        rx.el.summary(
            avatar(),
            rx.el.span(Session.name, class_name="account-name"),
            aria_label="Account",
            class_name="icon-button",
        ),
        rx.el.div(
            rx.el.p(Session.name, class_name="account-title"),
            rx.el.p(Session.email, class_name="account-email"),
            rx.el.a("Chat", href=routes.CHAT),
            rx.el.a("Usage", href=routes.DASHBOARD),
            rx.el.a("Settings", href=routes.SETTINGS),
            class_name="account-panel",
        ),
        class_name="account",
    )


def app_bar(*leading: rx.Component) -> rx.Component:
    return rx.el.header(
        *leading,
        brand(),
        rx.el.div(
            meter(),
            theme.color_mode_button(),
            account_menu(),
            SignOut.create(action=routes.SIGN_OUT),
            class_name="bar-links",
        ),
        SiteNotice.create(),
        class_name="bar bar-app",
    )


def gate(page: rx.Component, skeleton: rx.Component) -> rx.Component:
    """Nothing of a protected page before the server knows who is asking; then it stays in view."""
    return rx.fragment(
        Gate.create(
            page,
            rx.fragment(skeleton, rx.el.div(refusal(), class_name="refusal-alone")),
            ready=Session.ready,
            session=Session.get_full_name(),
            ready_var=f"ready{FIELD_MARKER}",
            live=[Notices.get_full_name()],
            refusal=Notices.refusal,
            on_again=OnLoadInternalState.on_load_internal,
        ),
        offline_banner(),
    )


def refusal() -> rx.Component:
    return Refusal.create(refusal=Notices.refusal, on_dismiss=Notices.dismiss)


def when(at: rx.Var[str] | str, show: str = "date") -> rx.Component:
    return When.create(at=at, show=show)
