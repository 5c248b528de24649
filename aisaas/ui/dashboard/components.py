"""The parts of the dashboard."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes
from aisaas.ui.browser import Refusal
from aisaas.ui.dashboard.state import Dashboard
from aisaas.ui.dashboard.view import UsageView
from aisaas.ui.notices import Notices
from aisaas.ui.session import Session

COLUMNS = (
    ("When", ""),
    ("What", ""),
    ("Model", ""),
    ("In + out", "number"),
    ("Counted", "number"),
    ("Cost", "number"),
    ("Ending", ""),
)


def refusal() -> rx.Component:
    return Refusal.create(refusal=Notices.refusal, on_dismiss=Notices.dismiss)


def allowance() -> rx.Component:
    return rx.el.section(
        rx.el.h2("This period"),
        rx.el.p(Session.meter.label, class_name="figure"),
        rx.el.div(
            layout.bar(Session.meter.percent), class_name="allowance-bar", aria_hidden="true"
        ),
        rx.el.p("Renews on ", layout.when(Session.meter.resets_at), ".", class_name="quiet"),
        rx.el.a("Go to chat", href=routes.CHAT, class_name="button button-primary"),
        class_name="card allowance-card",
    )


def usage() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Recent calls"),
        rx.cond(
            Dashboard.rows,
            rx.el.div(
                _table(),
                class_name="table-scroll",
                tab_index=0,
                role="group",
                aria_label="Recent calls",
            ),
            rx.el.p("Nothing yet. Your first reply will show up here.", class_name="quiet"),
        ),
        rx.el.p(
            "“Counted” is what a call took from your allowance: its tokens times the weight of its "
            "model. “Cost” is what the call cost us.",
            class_name="quiet",
        ),
        class_name="card",
    )


def _table() -> rx.Component:
    return rx.el.table(
        rx.el.thead(
            rx.el.tr(*(rx.el.th(name, scope="col", class_name=kind) for name, kind in COLUMNS))
        ),
        rx.el.tbody(rx.foreach(Dashboard.rows, _row)),
        class_name="ledger",
    )


def _row(row: UsageView) -> rx.Component:
    return rx.el.tr(
        rx.el.td(layout.when(row.at, "minute")),
        rx.el.td(row.purpose),
        rx.el.td(row.model),
        rx.el.td(row.tokens, class_name="number"),
        rx.el.td(row.counted, class_name="number"),
        rx.el.td(row.cost, class_name="number"),
        rx.el.td(row.outcome),
        key=row.id,
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
