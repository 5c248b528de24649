"""The parts of the dashboard."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes
from aisaas.ui.browser import Refusal, UsageChart
from aisaas.ui.dashboard.state import Dashboard
from aisaas.ui.dashboard.view import CallView, RefusedView, ShareView
from aisaas.ui.notices import Notices

RECEIPT = (
    ("When", ""),
    ("For", ""),
    ("Model", ""),
    ("Tokens in", "number"),
    ("Tokens out", "number"),
    ("Counted", "number"),
    ("Cost", "number"),
    ("Ending", ""),
)
REFUSED = (("Last time", ""), ("Why", ""), ("Model", ""), ("How often", "number"))


def refusal() -> rx.Component:
    return Refusal.create(refusal=Notices.refusal, on_dismiss=Notices.dismiss)


def allowance() -> rx.Component:
    view = Dashboard.allowance
    return rx.el.section(
        rx.el.h2("This period"),
        rx.el.p(
            rx.el.span(view.used, class_name="figure"),
            " ",
            rx.el.span("of ", view.limit, " tokens used", class_name="figure-unit"),
        ),
        rx.el.div(_bar(), class_name="allowance-bar", aria_hidden="true"),
        rx.el.p(view.words, class_name="level"),
        rx.el.dl(
            _fact("Left", view.left),
            rx.cond(view.credits, _fact("Of them credits", view.credits)),
            _fact("Held for running replies", view.held),
            rx.cond(view.beyond, _fact("Used beyond", view.beyond)),
            rx.cond(view.extra, _fact("It costs, of your cap", view.extra)),
            _fact("Renews on", layout.when(view.renews_at)),
            class_name="facts-list",
        ),
        rx.el.div(
            rx.el.a("Go to chat", href=routes.CHAT, class_name="button button-primary"),
            rx.el.a("Plan and billing", href=routes.BILLING, class_name="button"),
            class_name="row-of-buttons",
        ),
        class_name="card allowance-card",
        custom_attrs={"data-level": view.level},
    )


def _bar() -> rx.Component:
    view = Dashboard.allowance
    return rx.el.svg(
        rx.el.rect(width=view.used_percent, height=1, class_name="bar-used"),
        rx.el.rect(x=view.used_percent, width=view.held_percent, height=1, class_name="bar-held"),
        view_box="0 0 100 1",
        custom_attrs={"preserveAspectRatio": "none"},
    )


def _fact(name: str, value: layout.Text | rx.Component) -> rx.Component:
    return rx.el.div(rx.el.dt(name), rx.el.dd(value))


def by_model() -> rx.Component:
    return rx.el.section(
        rx.el.h2("This period by model"),
        rx.cond(
            Dashboard.shares,
            rx.el.ul(rx.foreach(Dashboard.shares, _share), class_name="shares"),
            rx.el.p(
                "Nothing used yet in this period. What each model takes will show up here.",
                class_name="quiet",
            ),
        ),
        class_name="card",
    )


def _share(row: ShareView) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.span(class_name="swatch", aria_hidden="true"),
            rx.el.span(row.label, class_name="share-label"),
            rx.el.span(row.share, class_name="number"),
            class_name="share-head",
        ),
        rx.el.div(layout.bar(row.percent), class_name="share-bar", aria_hidden="true"),
        rx.el.p(row.use, class_name="quiet"),
        key=row.label,
        custom_attrs={"data-tone": row.tone},
    )


def by_day() -> rx.Component:
    return rx.el.section(
        rx.el.h2("The last 30 days"),
        UsageChart.create(chart=Dashboard.chart),
        class_name="card card-wide",
    )


def receipts() -> rx.Component:
    calls = Dashboard.calls
    return rx.el.section(
        rx.el.h2("Recent replies"),
        rx.cond(
            calls.rows,
            rx.fragment(
                layout.table(RECEIPT, rx.foreach(calls.rows, _receipt), "Recent replies"),
                rx.cond(calls.older | calls.newer, _pages()),
            ),
            rx.el.p("Nothing yet. Your first reply will show up here.", class_name="quiet"),
        ),
        rx.el.p(
            "“Counted” is what a call took from your allowance: its tokens times the weight of its "
            "model. “Cost” is what the call cost us. The title of a conversation is a short call of "
            "its own.",
            class_name="quiet",
        ),
        class_name="card card-wide",
    )


def _receipt(row: CallView) -> rx.Component:
    return layout.row(
        RECEIPT,
        layout.when(row.at, "minute"),
        rx.el.span(
            rx.cond(
                row.href,
                rx.el.a(row.title, href=row.href),
                rx.el.span(row.title, class_name="gone"),
            ),
            rx.cond(row.purpose == "Title", rx.el.span("Title", class_name="tag")),
        ),
        rx.el.span(
            row.model,
            rx.cond(
                row.instead_of,
                rx.el.span("instead of ", row.instead_of, class_name="facts-fallback"),
            ),
            class_name="cell-model",
        ),
        row.tokens_in,
        row.tokens_out,
        row.counted,
        row.cost,
        row.outcome,
        key=row.id,
    )


def _pages() -> rx.Component:
    calls = Dashboard.calls
    return rx.el.nav(
        layout.turn("Newer", calls.newer, Dashboard.newer),
        rx.el.span("Page ", calls.page, class_name="quiet", aria_live="polite"),
        layout.turn("Older", calls.older, Dashboard.older),
        class_name="pages",
        aria_label="Pages of replies",
    )


def refused() -> rx.Component:
    return rx.el.section(
        rx.el.h2("What was refused"),
        rx.cond(
            Dashboard.refused,
            layout.table(REFUSED, rx.foreach(Dashboard.refused, _refused), "What was refused"),
            rx.el.p("Nothing in the last 30 days.", class_name="quiet"),
        ),
        rx.el.p(
            "A refused message took nothing from your allowance. What it said is not kept here.",
            class_name="quiet",
        ),
        class_name="card card-wide",
    )


def _refused(row: RefusedView) -> rx.Component:
    return layout.row(
        REFUSED,
        layout.when(row.at, "minute"),
        row.why,
        rx.cond(row.model, row.model, "–"),
        row.times,
        key=row.id,
    )
