"""The parts of a user's page."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import reflex as rx

from aisaas.ui import charts, layout, routes
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.ui.admin.user import actions
from aisaas.ui.admin.user.state import OneUser
from aisaas.ui.admin.user.view import LimitView, LineView

REFUSED = (
    Column("Reason", "wrap"),
    Column("When", "wide"),
    Column("Model", "wide"),
    Column("Count", "number"),
)
FAILED = (
    Column("Outcome"),
    Column("When", "wide"),
    Column("Model", "wide"),
    Column("Error", "wrap"),
)
SESSIONS = (
    Column("Device"),
    Column("Signed in by", "wrap"),
    Column("Since", "wide"),
    Column("Last seen", "wide"),
)
SUBSCRIPTIONS = (
    Column("Plan"),
    Column("Status"),
    Column("Since", "wide"),
    Column("Renews or ends", "wide"),
    Column("Stripe"),
)
CREDITS = (
    Column("Reason", "wrap"),
    Column("Granted", "wide"),
    Column("Used", "number"),
    Column("Expires", "wide"),
    Column("State"),
)
MAILS = (
    Column("Email"),
    Column("When", "wide"),
    Column("State"),
    Column("Error", "wrap"),
    Column("Resend", "wrap"),
)
DONE = (
    Column("Action"),
    Column("When", "wide"),
    Column("Actor", "wrap"),
    Column("Change", "wrap"),
    Column("Reason", "wrap"),
)


def account() -> rx.Component:
    user = OneUser.user
    return rx.el.section(
        rx.el.p(
            rx.el.a("All users", href=routes.ADMIN_USERS, class_name="quiet-link"),
            class_name="quiet",
        ),
        rx.cond(
            user.suspended_at,
            rx.el.p(
                "Suspended since ",
                layout.when(user.suspended_at, "minute"),
                rx.cond(user.suspended_reason, rx.fragment(": ", user.suspended_reason)),
                class_name="note note-late",
            ),
        ),
        rx.el.dl(
            _fact("Name", rx.cond(user.name, user.name, "None")),
            _fact("ID", rx.el.code(user.id)),
            _fact("Joined", layout.when(user.joined_at)),
            _fact("Role", rx.cond(user.admin, shared.badge("Admin", "good"), "User")),
            _fact(
                "Plan",
                rx.el.span(
                    user.plan,
                    rx.cond(
                        user.status,
                        rx.fragment(" ", shared.badge(user.status, rx.cond(user.owing, "bad", ""))),
                    ),
                ),
            ),
            rx.cond(user.ends_at, _fact("Plan ends", layout.when(user.ends_at))),
            _fact("Allowance renews", layout.when(user.renews_at)),
            class_name="facts-list facts-wrapped",
        ),
        actions.buttons(),
        class_name="card",
    )


def limits() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Limits"),
        rx.el.dl(rx.foreach(OneUser.user.limits, _limit), class_name="facts-list"),
        class_name="card",
    )


def _limit(limit: LimitView) -> rx.Component:
    return _fact(
        limit.name,
        rx.el.span(
            limit.words, rx.cond(limit.own, rx.fragment(" ", shared.badge("Custom", "near")))
        ),
    )


def _fact(name: layout.Text, value: Any) -> rx.Component:
    return rx.el.div(rx.el.dt(name), rx.el.dd(value))


def figures() -> rx.Component:
    return shared.tiles(OneUser.user.tiles, "Usage and billing")


def by_day() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Last 30 days"),
        charts.usage(OneUser.user.chart, admin=True),
        class_name="card card-wide",
    )


def subscriptions() -> rx.Component:
    user = OneUser.user
    return rx.el.section(
        rx.el.h2("Subscriptions"),
        shared.table(
            SUBSCRIPTIONS,
            user.subscriptions,
            _subscription,
            "Subscriptions",
            empty="No subscriptions.",
        ),
        rx.cond(
            user.customer_page,
            _outside("View customer in Stripe", user.customer_page, "button button-small"),
        ),
        class_name="card card-wide",
    )


def _subscription(line: LineView) -> rx.Component:
    return shared.row(
        SUBSCRIPTIONS,
        line.what,
        shared.badge(line.state, line.tone),
        layout.when(line.at),
        rx.cond(line.until, rx.el.span(line.detail, " ", layout.when(line.until)), "–"),
        rx.cond(line.href, _outside("Open", line.href), rx.el.code(line.id)),
        key=line.id,
    )


def _outside(name: str, address: layout.Text, kind: str = "") -> rx.Component:
    return rx.el.a(name, href=address, target="_blank", rel="noopener noreferrer", class_name=kind)


def refused() -> rx.Component:
    return _card("Refusals", REFUSED, OneUser.user.refused, _refused, "No refused messages.")


def _refused(line: LineView) -> rx.Component:
    when = layout.when(line.at, "minute")
    return shared.row(REFUSED, line.what, when, line.detail, line.figure, key=line.id)


def failed() -> rx.Component:
    empty = "No failed replies in the last 30 days."
    return _card("Failed replies", FAILED, OneUser.user.failed, _failed, empty)


def _failed(line: LineView) -> rx.Component:
    return shared.row(
        FAILED,
        line.what,
        layout.when(line.at, "minute"),
        line.detail,
        rx.el.code(line.state),
        key=line.id,
    )


def sessions() -> rx.Component:
    return _card("Sessions", SESSIONS, OneUser.user.sessions, _session, "No active sessions.")


def _session(line: LineView) -> rx.Component:
    return shared.row(
        SESSIONS,
        line.what,
        line.detail,
        layout.when(line.at, "minute"),
        layout.when(line.until, "ago"),
        key=line.id,
    )


def credits_given() -> rx.Component:
    return _card("Credits", CREDITS, OneUser.user.credits, _credit, "No credits.")


def _credit(line: LineView) -> rx.Component:
    return shared.row(
        CREDITS,
        line.what,
        layout.when(line.at),
        line.figure,
        rx.cond(line.until, layout.when(line.until), "–"),
        shared.badge(line.state, line.tone),
        key=line.id,
    )


def mails() -> rx.Component:
    return _card("Billing emails", MAILS, OneUser.user.mails, _mail, "No billing emails.")


def _mail(line: LineView) -> rx.Component:
    return shared.row(
        MAILS,
        line.what,
        layout.when(line.at, "minute"),
        shared.badge(line.state, line.tone),
        line.detail,
        rx.cond(line.possible, actions.send_again(line), "–"),
        key=line.id,
    )


def done() -> rx.Component:
    empty = "No admin actions on this account."
    return _card("Admin actions", DONE, OneUser.user.done, _done, empty)


def _done(line: LineView) -> rx.Component:
    return shared.row(
        DONE,
        rx.el.code(line.what),
        layout.when(line.at, "minute"),
        line.by,
        rx.el.span(shared.lines(line.lines)),
        line.detail,
        key=line.id,
    )


def _card(
    title: str,
    columns: Sequence[Column],
    lines: Any,
    row: Callable[[LineView], rx.Component],
    empty: str,
) -> rx.Component:
    return rx.el.section(
        rx.el.h2(title),
        shared.table(columns, lines, row, title, empty=empty),
        class_name="card card-wide",
    )
