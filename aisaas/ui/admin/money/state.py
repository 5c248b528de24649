"""The page's beginning: who may see it, and its parts as they are now."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import notices
from aisaas.ui.admin.money import days, outbox, plans, webhooks
from aisaas.ui.admin.shell import entered
from aisaas.wiring import services


class Money(rx.State):
    ready: bool = False
    # Whether there is a payment provider. Without one, what was recorded when there was is shown.
    sold: bool = False

    @rx.event
    @notices.shown_on_load
    async def load(self) -> None:
        principal = await entered(self)
        self.sold = services().payments is not None
        for part in (outbox, webhooks, days, plans):
            await part.begin(self, principal)
        self.ready = True
