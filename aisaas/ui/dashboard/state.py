"""The dashboard's state."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import notices
from aisaas.ui.dashboard import view
from aisaas.ui.session import principal_of, show_account
from aisaas.wiring import services

SHOWN = 20


class Dashboard(rx.State):
    rows: list[view.UsageView] = []  # noqa: RUF012

    @rx.event
    @notices.shown_on_load
    async def load(self) -> None:
        principal = await principal_of(self)
        await show_account(self, principal)
        await notices.clear(self)
        records = await services().usage.recent(principal, limit=SHOWN)
        self.rows = [view.usage_view(record, services().catalogue.labels) for record in records]
