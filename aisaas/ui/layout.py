"""What pages share: the brand, the bar at the top, the menu, the gate before protected pages."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import reflex as rx
from reflex.state import OnLoadInternalState
from reflex_base.constants.state import FIELD_MARKER
from reflex_base.event import EventChain
from reflex_base.vars import VarData
from reflex_base.vars.function import FunctionVar
from reflex_components_core.core.banner import connect_errors
from reflex_components_core.el.elements.inline import A

from aisaas.ui import routes, theme
from aisaas.ui.billing.state import Billing
from aisaas.ui.billing.view import DatedView
from aisaas.ui.browser import (
    Countdown,
    LoadingGate,
    NearNotice,
    Offline,
    PayButton,
    SignOut,
    SiteNotice,
    When,
)
from aisaas.ui.notices import Notices
from aisaas.ui.session import Session
from aisaas.ui.settings import APP_NAME
from aisaas.ui.site import site

# What a var reads as to a type checker.
Text = rx.Var[str] | str
ACCOUNT_MENU = "account-menu"


# The pages for signed-in users, in the order of the bar and the menu.
PAGES = (
    ("Chat", routes.CHAT),
    ("Usage", routes.DASHBOARD),
    ("Billing", routes.BILLING),
    ("Settings", routes.SETTINGS),
)
ADMIN_PAGE = ("Admin", routes.ADMIN)


def brand(href: str, class_name: str = "") -> rx.Component:
    return rx.el.a(
        rx.el.span(class_name="brand-mark", aria_hidden="true"),
        rx.el.span(APP_NAME, class_name="brand-name"),
        href=href,
        class_name=f"brand {class_name}",
    )


def skip_link() -> rx.Component:
    # Not the router's link, which would leave the focus where it is.
    return A.create("Skip to content", href="#content", class_name="skip-link")


def main(*children: rx.Component, class_name: str) -> rx.Component:
    return rx.el.main(*children, id="content", tab_index=-1, class_name=class_name)


def offline_banner() -> rx.Component:
    return Offline.create(errors=connect_errors)


def public_page(*children: rx.Component, with_links: bool = True) -> rx.Component:
    """A page for anybody. The stylesheet knows whether the page was requested with a session."""
    links = (
        rx.el.a("Sign in", href=routes.LOGIN, class_name="bar-link for-visitors"),
        rx.el.a("Open chat", href=routes.CHAT, class_name="bar-link for-members"),
    )
    return rx.el.div(
        skip_link(),
        rx.el.header(
            brand(routes.HOME, "for-visitors"),
            brand(routes.CHAT, "for-members"),
            rx.el.div(
                *(links if with_links else ()),
                theme.color_mode_button(),
                class_name="bar-links",
            ),
            class_name="bar bar-public",
        ),
        main(*children, class_name="public-main"),
        rx.el.footer(
            rx.el.span(APP_NAME),
            _legal(),
            class_name="site-foot",
        ),
        class_name="page",
    )


def _legal() -> rx.Component:
    """The stylesheet hides links without a target, even before scripts run."""
    contact = rx.cond(site.contact_email, "mailto:" + site.contact_email, "")
    return rx.el.div(
        A.create("Terms", href=site.terms_url),
        A.create("Privacy", href=site.privacy_url),
        A.create("Contact", href=contact),
        class_name="legal",
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
        # The stylesheet draws them: as text they would be part of the button's label.
        rx.el.span(
            class_name="avatar",
            aria_hidden="true",
            custom_attrs={"data-initials": Session.initials},
        ),
    )


def account_menu(at: str) -> rx.Component:
    return rx.fragment(
        rx.el.button(
            avatar(),
            type="button",
            aria_label="Account",
            class_name="icon-button",
            custom_attrs={"popoverTarget": ACCOUNT_MENU},
        ),
        rx.el.div(
            rx.el.p(Session.name, class_name="account-title"),
            rx.el.p(Session.email, class_name="account-email"),
            rx.el.div(*_links(at), class_name="account-pages"),
            SignOut.create(action=routes.SIGN_OUT),
            id=ACCOUNT_MENU,
            class_name="account-panel",
            custom_attrs={"popover": "auto"},
        ),
    )


def _links(at: str) -> tuple[rx.Component, ...]:
    pages = (_link(*page, at) for page in PAGES)
    return (*pages, rx.cond(Session.admin, _link(*ADMIN_PAGE, at)))


def _link(name: str, href: str, at: str) -> rx.Component:
    current = {"aria-current": "page"} if href == at else {}
    return rx.el.a(name, href=href, class_name="bar-link", custom_attrs=current)


def app_bar(at: str) -> rx.Component:
    """The bar of the page at `at`, for a signed-in user."""
    return rx.fragment(
        rx.el.header(
            *_bar_start(at),
            rx.el.div(
                meter(),
                theme.color_mode_button(),
                account_menu(at),
                class_name="bar-links",
            ),
            SiteNotice.create(),
            class_name="bar bar-app",
        ),
        payment_due(),
    )


def bar_outline(at: str) -> rx.Component:
    """The bar until the user is known."""
    return rx.el.header(
        *_bar_start(at),
        rx.el.div(theme.color_mode_button(), class_name="bar-links"),
        class_name="bar bar-app",
    )


def _bar_start(at: str) -> tuple[rx.Component, rx.Component]:
    return (
        brand(routes.CHAT),
        rx.el.nav(*_links(at), class_name="bar-pages", aria_label="Pages"),
    )


def payment_due() -> rx.Component:
    """On every page of a user whose payment failed."""
    return rx.cond(
        Session.due.before,
        rx.el.aside(
            rx.el.p(dated(Session.due)),
            PayButton.create(
                label="Update payment method",
                while_opening="Opening…",
                class_name="button button-small",
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
    """Hides a protected page until the server knows the user and `of` (which has a var `ready`) has
    loaded; then it stays in view."""
    return rx.fragment(
        skip_link(),
        LoadingGate.create(
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
    """An expected "no", with a clock where there is a time to come back."""
    view = Notices.refusal
    return rx.cond(
        view.code,
        rx.el.div(
            rx.el.div(
                rx.el.span(view.sentence),
                " ",
                rx.cond(view.retry_at, Countdown.create(at=view.retry_at)),
                " ",
                rx.cond(view.href, A.create(view.action, href=view.href)),
                class_name="alert-text",
            ),
            rx.el.button(
                rx.el.span(class_name="icon icon-close", aria_hidden="true"),
                type="button",
                class_name="icon-button",
                aria_label="Dismiss",
                on_click=Notices.dismiss,
            ),
            class_name="alert",
            role="alert",
            custom_attrs={"data-code": view.code},
        ),
    )


def close_dialog(label: Text) -> rx.Component:
    """Closes the dialog that it is in."""
    close = rx.Var(
        "closeDialog", _var_data=VarData(imports={"$/components/own/dialog.jsx": ["closeDialog"]})
    )
    return rx.el.button(
        label, type="button", class_name="button", on_click=close.to(FunctionVar, EventChain)
    )


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
    """Stays in place when there is no further page: the focused element must not vanish."""
    return rx.el.button(
        name,
        type="button",
        class_name="button button-small",
        on_click=rx.cond(possible, event, rx.noop()),
        custom_attrs={"aria-disabled": rx.cond(possible, "false", "true")},
    )


def skeleton(title: rx.Var[Any] | str, at: str, class_name: str = "dashboard-main") -> rx.Component:
    """A page's outline until the user is known; it also shows before scripts run."""
    line = rx.el.div(class_name="skeleton", aria_hidden="true")
    return rx.el.div(
        bar_outline(at),
        main(
            rx.el.h1(title),
            needs_scripts(),
            *([line] * 6),
            class_name=f"skeleton-column {class_name}",
        ),
        class_name="page",
        aria_busy="true",
    )


def needs_scripts() -> rx.Component:
    return rx.el.noscript("This page needs JavaScript. Turn it on in your browser and reload.")
