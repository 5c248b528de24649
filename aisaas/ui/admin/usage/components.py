"""The parts of the usage page."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import charts, layout, routes
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.ui.admin.usage.live import LiveFigures
from aisaas.ui.admin.usage.state import Usage
from aisaas.ui.admin.usage.view import (
    SPANS,
    SPLITS,
    STEPS,
    ErrorView,
    RefusedView,
    ShareView,
    SpentView,
    UserView,
)

EXPORT = "/api/admin/usage.csv"
SHARES = (
    Column("Name"),
    Column("Requests", "number", "requests"),
    Column("Model tokens in", "number", "tokens_in"),
    Column("Model tokens out", "number", "tokens_out"),
    Column("Incomplete", "number", "errors"),
    Column("Cost", "number", "cost"),
    Column("Revenue", "number", "revenue"),
    Column("Margin", "number", "margin"),
)
REFUSED = (Column("Reason", "wrap"), Column("Count", "number"), Column("Users", "number"))
ERRORS = (Column("Model"), Column("Provider"), Column("Error", "wide"), Column("Count", "number"))
USERS = (
    Column("User", "wrap", "email"),
    Column("Plan"),
    Column("Requests", "number", "requests"),
    Column("Model tokens", "number", "tokens"),
    Column("Incomplete", "number", "errors"),
    Column("Cost", "number", "cost"),
    Column("Extra usage", "number", "overage"),
)


def now() -> rx.Component:
    view = LiveFigures.now
    return rx.el.section(
        rx.el.h2("Now"),
        rx.el.dl(
            rx.foreach(view.tiles, shared.tile),
            _spent("Free accounts today", view.free),
            _spent("All accounts today", view.total),
            class_name="tiles",
        ),
        class_name="area-part",
        custom_attrs={"data-at": view.at},
    )


def _spent(name: str, view: SpentView) -> rx.Component:
    return rx.el.div(
        rx.el.dt(name),
        rx.el.dd(view.used, class_name="tile-figure"),
        rx.el.dd(
            rx.el.div(layout.bar(view.percent), class_name="gauge-bar", aria_hidden="true"),
            rx.el.span(view.words, class_name="tile-change"),
            class_name="gauge",
            custom_attrs={"data-level": view.level},
        ),
        class_name="tile",
    )


def span() -> rx.Component:
    chosen = Usage.span
    return rx.el.section(
        rx.el.h2(chosen.words),
        rx.el.div(
            shared.choice(SPANS, chosen.chosen, Usage.choose_days, "Days up to today"),
            rx.el.form(
                _day("first", "From", chosen.first),
                _day("last", "To", chosen.last),
                rx.el.button("Show", type="submit", class_name="button button-small"),
                on_submit=Usage.choose_span,
                class_name="days-form",
                aria_label="Custom range",
            ),
            class_name="span-choice",
        ),
        class_name="area-part",
    )


def _day(name: str, label: str, day: rx.Var[str] | str) -> rx.Component:
    return rx.el.label(
        label,
        rx.el.input(name=name, type="date", default_value=day, required=True, key=day),
    )


def figures() -> rx.Component:
    return shared.tiles(Usage.report.tiles, "Figures for this range")


def over_time() -> rx.Component:
    return rx.el.section(
        rx.el.div(
            rx.el.h2("Over time"),
            rx.cond(
                Usage.span.hourly,
                shared.choice(STEPS, Usage.span.step, Usage.choose_step, "Bars"),
            ),
            _export(Usage.span.step, "Download chart data"),
            class_name="card-head",
        ),
        charts.report(Usage.report.chart),
        class_name="card card-wide",
    )


def shares() -> rx.Component:
    return rx.el.section(
        rx.el.div(
            rx.el.h2("By model, provider, and plan"),
            shared.choice(SPLITS, Usage.split, Usage.choose_split, "Split by"),
            _export("model", "Download by model"),
            class_name="card-head",
        ),
        shared.table(
            SHARES,
            Usage.report.shares,
            _share,
            "Shares",
            empty="No usage in this range.",
            order=Usage.share_order,
            on_sort=Usage.sort_shares,
        ),
        rx.el.p(
            "Revenue is plan prices, spread over the days of the period, plus extra usage. Plan prices "
            "appear only in the split by plan. Cost is based on the providers' list prices. Model "
            "tokens are what a model reads and writes; multiplied by the model's weight, they count as "
            "quota tokens.",
            class_name="quiet",
        ),
        class_name="card card-wide",
    )


def _share(share: ShareView) -> rx.Component:
    return shared.row(
        SHARES,
        share.name,
        share.requests,
        share.tokens_in,
        share.tokens_out,
        share.errors,
        share.cost,
        share.revenue,
        share.margin,
        key=share.name,
    )


def refusals() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Refusals"),
        shared.table(
            REFUSED,
            Usage.report.refused,
            _refused,
            "Refusals by code",
            empty="No refused messages in this range.",
        ),
        class_name="card",
    )


def _refused(refused: RefusedView) -> rx.Component:
    return shared.row(
        REFUSED,
        rx.el.div(rx.el.div(refused.why), rx.el.code(refused.code, class_name="quiet")),
        refused.times,
        refused.users,
        key=refused.code,
    )


def errors() -> rx.Component:
    return rx.el.section(
        rx.el.h2("Provider errors"),
        shared.table(
            ERRORS,
            Usage.report.errors,
            _error,
            "Errors by provider",
            empty="No provider errors in this range.",
        ),
        class_name="card",
    )


def _error(error: ErrorView) -> rx.Component:
    return shared.row(
        ERRORS,
        error.model,
        error.provider,
        rx.el.code(error.kind),
        error.times,
        key=error.id,
    )


def users() -> rx.Component:
    view = Usage.users
    return rx.el.section(
        rx.el.div(
            rx.el.h2("Users"),
            _export("user", "Download by user"),
            class_name="card-head",
        ),
        shared.search_box("Search by email or user ID", Usage.find),
        shared.table(
            USERS,
            view.rows,
            _user,
            "Users",
            empty="No matching users in this range.",
            order=view.order,
            on_sort=Usage.sort_users,
        ),
        shared.pager(view.pages, Usage.earlier, Usage.later, "Pages of users"),
        class_name="card card-wide",
    )


def _user(user: UserView) -> rx.Component:
    return shared.row(
        USERS,
        rx.cond(
            user.gone,
            rx.el.span(user.email, class_name="gone"),
            rx.el.a(user.email, href=routes.admin_user(user.id)),
        ),
        user.plan,
        user.requests,
        user.tokens,
        user.errors,
        user.cost,
        user.overage,
        key=user.id,
    )


def _export(by: rx.Var[str] | str, label: str) -> rx.Component:
    days = Usage.span
    return rx.el.a(
        "CSV",
        href=f"{EXPORT}?from={days.first}&to={days.last}&by={by}",
        download=True,
        class_name="button button-small",
        # It starts with the visible text, so that voice control can name it.
        aria_label=f"CSV: {label}",
        # The browser's own: it leads to a file, not to a page of ours.
        custom_attrs={"reloadDocument": True},
    )
