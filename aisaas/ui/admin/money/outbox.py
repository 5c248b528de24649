"""Rows of the outbox: view, resend and resolve them."""

from __future__ import annotations

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.ui import notices
from aisaas.ui.admin.money import forms, view
from aisaas.ui.admin.money.listed import Listed
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class OutboxRows(Listed, rx.State):
    shown: view.OutboxView = view.OutboxView()
    WHICH = view.WHICH_ROWS

    async def _show(self, principal: Principal, which: str) -> None:
        usage = services().money.usage
        found = await usage.page(
            principal, view.STATES_SHOWN[which], search=self._search, before=self._before
        )
        self._end_here = found.end
        health = await usage.health(principal)
        self.shown = view.outbox_view(found, health, which, self._page)

    @rx.event
    @notices.handle_errors
    async def resend(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        sent = await services().money.usage.resend(
            principal, forms.rows(form), reason=forms.reason(form)
        )
        await self._show_again(principal)
        await done(self, view.resent(sent))

    @rx.event
    @notices.handle_errors
    async def resolve(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        rows, resolution = forms.rows(form), forms.resolution(form)
        count = await services().money.usage.resolve(
            principal, rows, resolution, reason=forms.reason(form)
        )
        await self._show_again(principal)
        await done(self, f"{view.times(count, 'record', 'records')} resolved.")
