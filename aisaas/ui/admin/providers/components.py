"""The parts of the providers page."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.components import Column
from aisaas.ui.admin.providers.state import ProviderStatuses
from aisaas.ui.admin.providers.view import SPANS, ErrorView, StatusView

_FIGURES = (
    Column("Attempts", "number"),
    Column("Errors", "number"),
    Column("First token p50", "number"),
    Column("First token p95", "number"),
    Column("Tokens/s", "number"),
    Column("Circuit", "wide"),
    Column("Last failure", "wide"),
)
PROVIDERS = (Column("Provider", "wrap"), *_FIGURES)
MODELS = (Column("Model", "wrap"), *_FIGURES)
ERRORS = (
    Column("Error", "wrap"),
    Column("Model", "wrap"),
    Column("Provider", "wrap"),
    Column("Count", "number"),
    Column("Last seen", "wide"),
)


def span() -> rx.Component:
    return rx.el.section(
        shared.choice(SPANS, ProviderStatuses.span, ProviderStatuses.choose_span, "Time range"),
        class_name="area-part",
        custom_attrs={"data-at": ProviderStatuses.health.at},
    )


def providers() -> rx.Component:
    return _statuses("Providers", PROVIDERS, ProviderStatuses.health.providers)


def models() -> rx.Component:
    return _statuses("Models", MODELS, ProviderStatuses.health.models)


def _statuses(name: str, columns: tuple[Column, ...], rows: list[StatusView]) -> rx.Component:
    return rx.el.section(
        rx.el.h2(name),
        shared.table(
            columns, rows, lambda row: _status(columns, row), name, empty="No attempts yet."
        ),
        class_name="card card-wide",
    )


def _status(columns: tuple[Column, ...], row: StatusView) -> rx.Component:
    return shared.row(
        columns,
        _over(row.name, row.under),
        _over(row.attempts, row.stopped),
        _over(row.errors, row.share),
        row.p50,
        row.p95,
        row.speed,
        rx.fragment(
            shared.badge(row.circuit, row.tone),
            rx.cond(row.processes, rx.el.span(row.processes, class_name="under quiet")),
            rx.cond(
                row.open_until,
                rx.el.span(
                    "until ", layout.when(row.open_until, "minute"), class_name="under quiet"
                ),
            ),
        ),
        rx.cond(
            row.failure,
            rx.fragment(
                rx.el.code(row.failure),
                rx.el.span(layout.when(row.failed_at, "minute"), class_name="under quiet"),
                rx.el.span("Check ", rx.el.code(row.variable), class_name="under quiet"),
            ),
            "None",
        ),
        key=row.id,
    )


def _over(text: layout.Text, under: layout.Text) -> rx.Component:
    return rx.fragment(text, rx.cond(under, rx.el.span(under, class_name="under quiet")))


def errors() -> rx.Component:
    found = ProviderStatuses.health.errors
    return rx.el.section(
        rx.el.h2("Errors"),
        shared.table(ERRORS, found, _error, "Errors", empty="No errors in this range."),
        rx.el.p(
            "Attempts include titles and attempts after which a fallback answered. Percentiles of the "
            "first token are accurate to about 10%. Tokens per second are measured from the first token "
            "to the last. While a provider's circuit is open, other models are tried first. Last "
            "failures go back 7 days.",
            class_name="quiet",
        ),
        class_name="card card-wide",
    )


def _error(row: ErrorView) -> rx.Component:
    return shared.row(
        ERRORS,
        rx.el.code(row.kind),
        row.model,
        row.provider,
        row.times,
        layout.when(row.at, "minute"),
        key=row.id,
    )
