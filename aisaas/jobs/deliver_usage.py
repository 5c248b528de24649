"""Sends usage to the payment provider's meter, and warns when it doesn't get there."""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.outbox import Outbox
from aisaas.errors import DependencyError

log = logging.getLogger(__name__)

AFTER_TROUBLE_SECONDS = 1.0
WATCH_EVERY_SECONDS = 300.0


async def deliver_usage(outbox: Outbox) -> None:
    """Runs until the outbox is stopped, or cancelled."""
    while not outbox.stopping:
        seconds = AFTER_TROUBLE_SECONDS
        try:
            seconds = await outbox.deliver_due()
        except DependencyError as error:
            log.warning("usage waits to be sent: %s", error)
        except Exception:
            # A surprise in one round must not end the delivery for good.
            log.exception("sending usage failed")
        await outbox.rest(seconds)


async def watch_usage(outbox: Outbox) -> None:
    """Runs until cancelled. Apart from the delivery, which may be what is stuck."""
    while True:
        await asyncio.sleep(WATCH_EVERY_SECONDS)
        try:
            await outbox.warn_if_late()
        except DependencyError as error:
            log.warning("how late usage is could not be looked up: %s", error)
        except Exception:
            # A surprise in one round must not end the watch for good.
            log.exception("looking for late usage failed")
