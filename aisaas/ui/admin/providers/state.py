"""The providers page: refreshed while it is open, and no longer.

Invariant: each refresh checks the user again; a user who is no longer an admin loses the page.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

import reflex as rx
from reflex.event import EventType
from reflex_base.event.context import EventContext

from aisaas.accounts.models import Principal
from aisaas.admin.provider_reports import HealthSpan
from aisaas.errors import TooSlow, Unavailable
from aisaas.ui import notices, routes
from aisaas.ui.admin.providers import forms
from aisaas.ui.admin.providers.view import HealthView, health_view
from aisaas.ui.admin.shell import admin_of, entered
from aisaas.ui.reflex_patches.frames import has_socket
from aisaas.wiring import services

LOOK_SECONDS = 3.0


class ProviderStatuses(rx.State):
    ready: bool = False
    span: HealthSpan = "1h"
    health: HealthView = HealthView()
    # The newest look-out: older ones end.
    _watch: str = ""

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> EventType[()]:
        await _show(self, await entered(self))
        self.ready = True
        return ProviderStatuses.watch

    @rx.event
    @notices.handle_errors
    async def choose_span(self, span: str) -> None:
        principal = await admin_of(self)
        self.span = forms.span(span)
        await _show(self, principal)
        await notices.clear(self)

    @rx.event(background=True)
    @notices.handle_background_errors
    async def watch(self) -> None:
        async with self:
            await admin_of(self)
            mine = self._watch = uuid4().hex
        token = EventContext.get().token
        while has_socket(token):
            await asyncio.sleep(LOOK_SECONDS)
            async with self:
                if self._watch != mine or not _is_open(self):
                    return
                try:
                    await _show(self, await admin_of(self))
                except (TooSlow, Unavailable):
                    # A background refresh; the next one may succeed.
                    continue


async def _show(page: ProviderStatuses, principal: Principal) -> None:
    found = await services().provider_reports.report(principal, page.span)
    page.health = health_view(found, services().catalogue.labels)


def _is_open(page: rx.State) -> bool:
    return page.router.url.path.rstrip("/") == routes.ADMIN_PROVIDERS
