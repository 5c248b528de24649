"""Sends usage to the payment provider's meter, and warns when it doesn't get there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aisaas.billing.metering.outbox import Outbox
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

AFTER_TROUBLE_SECONDS = 1.0
WATCH_EVERY_SECONDS = 300.0


async def deliver_usage(outbox: Outbox) -> None:
    """Runs until the outbox is stopped, or cancelled."""
    RUNS.began("deliver_usage")
    while not outbox.stopping:
        seconds = AFTER_TROUBLE_SECONDS
        try:
            seconds = await outbox.deliver_due()
            RUNS.succeeded("deliver_usage")
        except DependencyError as error:
            RUNS.failed("deliver_usage")
            log.warning("usage waits to be sent: %s", error)
        except Exception:
            RUNS.failed("deliver_usage")
            # An unexpected error in one round must not stop the later ones.
            log.exception("sending usage failed")
        await outbox.rest(seconds)


async def watch_usage(outbox: Outbox) -> None:
    """Runs until cancelled. Apart from the delivery, which may be what is stuck."""
    RUNS.began("watch_usage")
    await _watch(outbox.warn_of_token_meter)
    while True:
        await asyncio.sleep(WATCH_EVERY_SECONDS)
        await _watch(outbox.warn_if_late)


async def _watch(warn: Callable[[], Awaitable[None]]) -> None:
    try:
        await warn()
        RUNS.succeeded("watch_usage")
    except DependencyError as error:
        RUNS.failed("watch_usage")
        log.warning("how late usage is could not be looked up: %s", error)
    except Exception:
        RUNS.failed("watch_usage")
        # An unexpected error in one round must not stop the later ones.
        log.exception("looking for late usage failed")
