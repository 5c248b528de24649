"""Loading the page: checks who may see it, and loads its parts."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import notices
from aisaas.ui.admin.money.days import Days
from aisaas.ui.admin.money.failed import FailedJobs
from aisaas.ui.admin.money.losses import Losses
from aisaas.ui.admin.money.outbox import OutboxRows
from aisaas.ui.admin.money.plans import Plans
from aisaas.ui.admin.money.webhooks import WebhookRows
from aisaas.ui.admin.shell import entered
from aisaas.wiring import services


class Money(rx.State):
    ready: bool = False
    # Whether there is a payment provider. Without one, the page shows earlier records.
    sold: bool = False

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> None:
        principal = await entered(self)
        self.sold = services().payments is not None
        for part in (OutboxRows, WebhookRows, Days, Plans, Losses, FailedJobs):
            await (await self.get_state(part))._begin(principal)
        self.ready = True
