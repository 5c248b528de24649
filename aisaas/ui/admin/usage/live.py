"""Current activity: refreshed while the page is open, and no longer.

A separate state, so that a refresh sends only these few figures. Invariant: each refresh checks the
user again; a user who is no longer an admin loses the page.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

import reflex as rx
from reflex_base.event.context import EventContext

from aisaas.accounts.models import Principal
from aisaas.errors import TooSlow, Unavailable
from aisaas.ui import notices, routes
from aisaas.ui.admin.shell import admin_of
from aisaas.ui.admin.usage.view import LiveView, live_view
from aisaas.ui.reflex_patches.frames import has_socket
from aisaas.wiring import services

LOOK_SECONDS = 2.0


class LiveFigures(rx.State):
    now: LiveView = LiveView()
    # The newest look-out: older ones end.
    _watch: str = ""

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
                    await show_live(self, await admin_of(self))
                except (TooSlow, Unavailable):
                    # A background refresh; the next one may succeed.
                    continue


async def show_live(page: rx.State, principal: Principal) -> None:
    found = live_view(await services().usage_reports.live(principal))
    (await page.get_state(LiveFigures)).now = found


def _is_open(page: rx.State) -> bool:
    return page.router.url.path.rstrip("/") == routes.ADMIN
