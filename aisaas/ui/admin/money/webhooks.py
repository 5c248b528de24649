"""Events of the payment provider: what became of them, and replays of failed ones."""

from __future__ import annotations

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.ui import notices
from aisaas.ui.admin.money import forms, view
from aisaas.ui.admin.money.listed import Listed
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class WebhookRows(Listed, rx.State):
    shown: view.EventsView = view.EventsView()
    WHICH = view.WHICH_EVENTS

    async def _show(self, principal: Principal, which: str) -> None:
        webhooks = services().money.webhooks
        found = await webhooks.page(
            principal, failed=which == "failed", search=self._search, before=self._before
        )
        self._end_here = found.end
        health = await webhooks.health(principal)
        self.shown = view.events_view(found, health, which, self._page)

    @rx.event
    @notices.handle_errors
    async def replay(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        outcome = await services().money.webhooks.replay(
            principal, forms.event(form), reason=forms.reason(form)
        )
        await self._show_again(principal)
        status, _ = view.event_status(outcome)
        await done(self, f"The event was handled: {status.lower()}.")
