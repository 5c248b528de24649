"""The parts of the list of users."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.ui.admin.users.state import Users
from aisaas.ui.admin.users.view import PLANS, STANDINGS, UserView

COLUMNS = (
    Column("User", "wrap", "email"),
    Column("Plan", "", "plan"),
    Column("Requests", "number", "requests"),
    Column("Quota tokens", "number", "tokens"),
    Column("Cost", "number", "cost"),
    Column("Last seen", "wide", "seen"),
    Column("Joined", "wide", "joined"),
)


def users() -> rx.Component:
    found = Users.found
    return rx.el.section(
        shared.search_box("Search by email, name, or user ID", Users.find),
        rx.el.div(
            shared.choice(STANDINGS, found.standing, Users.choose_standing, "Which users"),
            shared.choice(PLANS, found.plan, Users.choose_plan, "Which plan"),
            class_name="filters",
        ),
        shared.table(
            COLUMNS,
            found.rows,
            _user,
            "Users",
            empty="No matching users.",
            order=found.order,
            on_sort=Users.sort,
        ),
        shared.pager(found.pages, Users.earlier, Users.later, "Pages of users"),
        rx.el.p(
            "Requests, quota tokens, and cost are for the last 30 days. Quota tokens are model tokens multiplied by the model's weight.",
            class_name="quiet",
        ),
        class_name="card card-wide",
    )


def _user(user: UserView) -> rx.Component:
    return shared.row(
        COLUMNS,
        rx.fragment(
            rx.el.a(user.email, href=user.href),
            rx.el.span(
                rx.cond(user.name, rx.el.span(user.name)),
                rx.cond(user.admin, shared.badge("Admin", "good")),
                rx.cond(user.suspended, shared.badge("Suspended", "bad")),
                class_name="under quiet",
            ),
        ),
        rx.el.span(
            user.plan,
            rx.cond(
                user.status,
                rx.fragment(" ", shared.badge(user.status, rx.cond(user.owing, "bad", ""))),
            ),
        ),
        user.requests,
        user.tokens,
        user.cost,
        rx.cond(user.seen_at, layout.when(user.seen_at, "ago"), "Never"),
        layout.when(user.joined_at),
        key=user.id,
    )
