"""Bars over time, which `bars.jsx` draws, with the same numbers as a table below."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import reflex as rx

from aisaas.ui.browser import Bars

_REPLIES = {
    "key": "replies",
    "label": "Replies",
    "one": "reply",
    "many": "replies",
    "said": "from models",
}
_TOKENS = {
    "key": "tokens",
    "label": "Tokens",
    "one": "token",
    "many": "tokens",
    "said": "counted toward your allowance",
}
# Admins tell a model's tokens from those that count by its weight.
_QUOTA_TOKENS = {
    "key": "tokens",
    "label": "Quota tokens",
    "one": "quota token",
    "many": "quota tokens",
    "said": "used",
}


def usage(chart: Any, *, admin: bool = False) -> rx.Component:
    """A user's usage by day, as bars stacked by model, in tokens or in replies; `chart` is a
    `dashboard.view.ChartView`."""
    tokens = _QUOTA_TOKENS if admin else _TOKENS
    drawn = {
        "points": chart.days,
        "series": chart.series,
        "by": "day",
        "every": 1,
        "today": True,
        "measures": [tokens, _REPLIES],
    }
    heads = ["Day", "Model", tokens["label"], _REPLIES["label"]]
    table = _table("Usage by day and model, newest first", heads, chart.rows, names=2)
    nothing = rx.el.p("No usage in the last 30 days.", class_name="chart-frame chart-empty")
    return _once(chart.days, rx.cond(chart.series, Bars.create(table, chart=drawn), nothing))


def report(chart: Any) -> rx.Component:
    """Everybody's use over a span; `chart` is an `admin.usage.view.ChartView`."""
    table = _table("All figures, newest first", chart.heads, chart.rows, names=1)
    return _once(chart.points, Bars.create(table, chart=chart))


def _once(known: Any, chart: Any) -> Any:
    """Reserves room for the chart before it loads."""
    return rx.cond(known, chart, rx.el.div(class_name="chart-frame"))


def _table(caption: str, heads: Any, rows: Any, *, names: int) -> rx.Component:
    """The first cells of a row, as many as `names`, are names; the others are numbers."""

    def kind(n: Any) -> Any:
        return rx.cond(n < names, "", "number")

    def cell(text: Any, n: Any) -> Any:
        return rx.cond(
            n == 0,
            rx.el.th(text, scope="row"),
            rx.el.td(text, class_name=kind(n)),
        )

    head = rx.foreach(heads, lambda name, n: rx.el.th(name, scope="col", class_name=kind(n)))
    table = rx.el.table(
        rx.el.caption(caption, class_name="visually-hidden"),
        rx.el.thead(rx.el.tr(head)),
        rx.el.tbody(rx.foreach(rows, lambda row: rx.el.tr(rx.foreach(row, cell)))),
    )
    return rx.el.details(
        rx.el.summary("Show as table", class_name="text-button"),
        rx.el.div(table, class_name="table-scroll", tab_index=0, role="region", aria_label=caption),
        class_name="chart-table",
    )
