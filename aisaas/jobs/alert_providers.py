"""Looks for providers that refuse our key, or don't know a model any more. Any process may, for all.

Outages: without the database nothing is looked at, and the next look finds what failed; without the
webhook's server its alerts wait here, and mails go out all the same.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.providers.alerts import ProviderAlerts
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 10.0


async def alert_providers(alerts: ProviderAlerts) -> None:
    """Runs until cancelled."""
    RUNS.began("alert_providers")
    while True:
        try:
            await alerts.look_once()
            await alerts.deliver_once()
            RUNS.succeeded("alert_providers")
        except DependencyError as error:
            RUNS.failed("alert_providers")
            log.warning("alerts about providers wait: %s", error)
        except Exception:
            RUNS.failed("alert_providers")
            # An unexpected error in one round must not stop the later ones.
            log.exception("looking for providers that refuse us failed")
        await asyncio.sleep(EVERY_SECONDS)
