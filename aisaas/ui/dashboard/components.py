"""The parts of the dashboard."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import charts, layout, routes
from aisaas.ui.dashboard.state import Dashboard
from aisaas.ui.dashboard.view import CallView, RefusedView, ShareView
from aisaas.ui.session import Session

RECEIPT = (
    ("When", ""),
    ("Conversation", ""),
    ("Model", ""),
    ("Tokens in", "number"),
    ("Tokens out", "number"),
    ("Counts as", "number"),
    ("Extra cost", "number"),
)
STATUS = (("Status", ""),)
# Customers never see what the provider charges.
PROVIDER_COST = (("Provider cost", "number"),)
REFUSED = (("Last", ""), ("Reason", ""), ("Model", ""), ("Count", "number"))


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
            _fact("Remaining", view.left),
            rx.cond(view.credits, _fact("Including credits", view.credits)),
            _fact("Reserved for running replies", view.held),
            rx.cond(view.beyond, _fact("Extra usage", view.beyond)),
            rx.cond(view.extra, _fact("Cost of extra usage", view.extra)),
            _fact("Period ends", layout.when(view.renews_at)),
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
                "No usage yet in this period. Usage by model will appear here.",
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
        rx.el.h2("Last 30 days"),
        charts.usage(Dashboard.chart),
        class_name="card card-wide",
    )


def receipts() -> rx.Component:
    calls = Dashboard.calls
    return rx.el.section(
        rx.el.h2("Recent replies"),
        rx.cond(
            calls.rows,
            rx.fragment(
                rx.cond(Session.admin, _receipts(admin=True), _receipts(admin=False)),
                rx.cond(calls.older | calls.newer, _pages()),
            ),
            rx.el.p("No replies yet. Your first reply will appear here.", class_name="quiet"),
        ),
        rx.el.p(
            "“Counts as” is the number of tokens a reply uses from your allowance: its tokens in and "
            "out, multiplied by the model's weight. Generating a conversation's title is listed as a "
            "separate, short reply.",
            class_name="quiet",
        ),
        class_name="card card-wide",
    )


def _receipts(*, admin: bool) -> rx.Component:
    columns = (*RECEIPT, *(PROVIDER_COST if admin else ()), *STATUS)

    def receipt(row: CallView) -> rx.Component:
        cost = (row.cost,) if admin else ()
        cells = (*_call(row), *cost, row.outcome)
        return layout.row(columns, *cells, key=row.id)

    return layout.table(columns, rx.foreach(Dashboard.calls.rows, receipt), "Recent replies")


def _call(row: CallView) -> tuple[layout.Text | rx.Component, ...]:
    return (
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
        row.charge,
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
        rx.el.h2("Refused messages"),
        rx.cond(
            Dashboard.refused,
            layout.table(REFUSED, rx.foreach(Dashboard.refused, _refused), "Refused messages"),
            rx.el.p("No refused messages in the last 30 days.", class_name="quiet"),
        ),
        rx.el.p(
            "Refused messages don't use tokens. Their text isn't stored here.",
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
