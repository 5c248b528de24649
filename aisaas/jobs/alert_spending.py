"""Looks at what is spent against the caps, and sends the webhook what is due: alerts about spending and
about losses, which settling records. Any process may, for all of them.

Outages: without the database nothing is looked at, and the next look finds what was crossed; without
the webhook's server alerts wait, and mails go out all the same.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.notices.alert_delivery import AlertDelivery
from aisaas.controls.spending_alerts import SpendingAlerts
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0


async def alert_spending(alerts: SpendingAlerts, losses: AlertDelivery) -> None:
    """Runs until cancelled."""
    RUNS.began("alert_spending")
    while True:
        try:
            await alerts.look_once()
            await alerts.deliver_once()
            await losses.deliver_once()
            RUNS.succeeded("alert_spending")
        except DependencyError as error:
            RUNS.failed("alert_spending")
            log.warning("alerts about spending and losses wait: %s", error)
        except Exception:
            RUNS.failed("alert_spending")
            # An unexpected error in one round must not stop the later ones.
            log.exception("looking at what is spent failed")
        await asyncio.sleep(EVERY_SECONDS)
