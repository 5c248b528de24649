"""The parts of the audit log's page."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.admin import components as shared
from aisaas.ui.admin.audit.state import Audit
from aisaas.ui.admin.audit.view import EntryView
from aisaas.ui.admin.components import Column

COLUMNS = (
    Column("When"),
    Column("Actor", "wrap"),
    Column("Action", "wide"),
    Column("Subject", "wrap"),
    Column("Change", "wrap"),
    Column("Reason", "wrap"),
)


def entries() -> rx.Component:
    log = Audit.shown
    return rx.el.section(
        shared.search_box("Search by actor, action, account, or reason", Audit.find),
        rx.cond(log.narrow, rx.el.p(log.narrow, role="status")),
        shared.table(COLUMNS, log.rows, _entry, "Audit log", empty="No matching entries."),
        shared.turns(log.page, log.older, Audit.newer, Audit.older, "Pages of the audit log"),
        class_name="card card-wide",
    )


def _entry(entry: EntryView) -> rx.Component:
    return shared.row(
        COLUMNS,
        layout.when(entry.at, "minute"),
        entry.who,
        rx.el.code(entry.action),
        entry.subject,
        shared.lines(entry.changes),
        entry.reason,
        key=entry.id,
    )
