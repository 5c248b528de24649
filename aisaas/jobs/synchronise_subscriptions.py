"""Looks at every subscription that can still change once a day, in case its webhooks were lost, and
at plans that have just ended while another subscription may go on.

Outages: without the provider or the database the round ends, and the next one goes on; whoever was
being looked at has their turn again after some minutes.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.subscriptions.subscriptions import Subscriptions
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 300.0
# Users whom one process takes at a time.
BATCH = 20


async def synchronise_subscriptions(subscriptions: Subscriptions) -> None:
    """Runs until cancelled."""
    RUNS.began("synchronise_subscriptions")
    while True:
        try:
            while await subscriptions.look_again(BATCH):
                pass
            RUNS.succeeded("synchronise_subscriptions")
        except DependencyError as error:
            RUNS.failed("synchronise_subscriptions")
            log.warning("subscriptions are looked at later: %s", error)
        except Exception:
            RUNS.failed("synchronise_subscriptions")
            # An unexpected error in one round must not stop the later ones.
            log.exception("looking at subscriptions failed")
        await asyncio.sleep(EVERY_SECONDS)
