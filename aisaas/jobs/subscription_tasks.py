"""Does what is noted about subscriptions: ends duplicates, releases schedules that have done their work.

Outages: without the provider or the database the round ends, and the next one goes on.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.subscriptions.tasks import SubscriptionTasks
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0


async def subscription_tasks(tasks: SubscriptionTasks) -> None:
    """Runs until cancelled."""
    RUNS.began("subscription_tasks")
    while True:
        try:
            while await tasks.run_once():
                pass
            RUNS.succeeded("subscription_tasks")
        except DependencyError as error:
            RUNS.failed("subscription_tasks")
            log.warning("tasks of subscriptions are done later: %s", error)
        except Exception:
            RUNS.failed("subscription_tasks")
            # An unexpected error in one round must not stop the later ones.
            log.exception("doing tasks of subscriptions failed")
        await asyncio.sleep(EVERY_SECONDS)
