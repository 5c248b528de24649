"""What pages share: the brand, the bar at the top, the allowance, the gate before protected pages."""

from __future__ import annotations

from typing import Any

import reflex as rx
from reflex.state import OnLoadInternalState
from reflex_base.constants.state import FIELD_MARKER
from reflex_components_core.core.banner import connect_errors

from aisaas.ui import routes, theme
from aisaas.ui.billing.state import Billing
from aisaas.ui.billing.view import DatedView
from aisaas.ui.browser import (
    Gate,
    NearNotice,
    Offline,
    PayButton,
    Refusal,
    SignOut,
    SiteNotice,
    When,
)
from aisaas.ui.notices import Notices
from aisaas.ui.session import Session
from aisaas.ui.settings import APP_NAME

# What a var reads as to a type checker.
Text = rx.Var[str] | str


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
            aria_label=view.name,
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
            rx.el.a("Billing", href=routes.BILLING),
            rx.el.a("Settings", href=routes.SETTINGS),
            rx.cond(Session.admin, rx.el.a("Admin", href=routes.ADMIN)),
            class_name="account-panel",
        ),
        class_name="account",
    )


def app_bar(*leading: rx.Component) -> rx.Component:
    return rx.fragment(
        rx.el.header(
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
        ),
        payment_due(),
    )


def payment_due() -> rx.Component:
    """On every page of somebody whose payment failed."""
    return rx.cond(
        Session.due.before,
        rx.el.aside(
            rx.el.p(dated(Session.due)),
            PayButton.create(
                label="Update payment method",
                kind="small",
                refusal=Notices.refusal,
                on_press=Billing.open_portal,
            ),
            class_name="due",
            aria_label="Payment",
        ),
    )


def near_notice() -> rx.Component:
    return NearNotice.create(owner=Session.owner, near=Session.near, href=routes.BILLING)


def dated(view: DatedView) -> rx.Component:
    """A sentence around a moment."""
    return rx.fragment(view.before, rx.cond(view.at, rx.fragment(" ", when(view.at))), view.after)


def gate(
    page: rx.Component,
    skeleton: rx.Component,
    *,
    of: type[Any] = Session,
) -> rx.Component:
    """Nothing of a protected page before the server knows who is asking, and what `of` shows is
    there (it has a var `ready`); then it stays in view."""
    return rx.fragment(
        Gate.create(
            page,
            rx.fragment(skeleton, rx.el.div(refusal(), class_name="refusal-alone")),
            ready=of.ready,
            hydrated=rx.State.is_hydrated,
            session=of.get_full_name(),
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


def table(columns: tuple[tuple[str, str], ...], rows: rx.Component, label: str) -> rx.Component:
    """Rows become cards where there is no room; the roles keep it a table there."""
    heads = (
        rx.el.th(name, scope="col", role="columnheader", class_name=kind) for name, kind in columns
    )
    return rx.el.table(
        rx.el.thead(rx.el.tr(*heads, role="row"), role="rowgroup"),
        rx.el.tbody(rows, role="rowgroup"),
        class_name="ledger",
        role="table",
        aria_label=label,
    )


def row(
    columns: tuple[tuple[str, str], ...], *cells: Text | rx.Component, key: Text
) -> rx.Component:
    filled = (
        rx.el.td(cell, role="cell", class_name=kind, custom_attrs={"data-label": name})
        for cell, (name, kind) in zip(cells, columns, strict=True)
    )
    return rx.el.tr(*filled, role="row", key=key)


def turn(
    name: str, possible: rx.Var[bool] | bool, event: rx.event.EventCallback[()]
) -> rx.Component:
    """Stays where it is when there is nowhere to turn: what has the focus must not vanish."""
    return rx.el.button(
        name,
        type="button",
        class_name="button button-small",
        on_click=rx.cond(possible, event, rx.noop()),
        custom_attrs={"aria-disabled": rx.cond(possible, "false", "true")},
    )


def skeleton() -> rx.Component:
    line = rx.el.div(class_name="skeleton")
    return rx.el.div(
        rx.el.div(class_name="bar"),
        rx.el.div(*([line] * 6), class_name="skeleton-column dashboard-main"),
        class_name="page",
        aria_busy="true",
        aria_label="Loading",
    )
