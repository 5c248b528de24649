"""Runs recorded subscription tasks: ends duplicates, releases finished schedules.

Outages: without the provider or the database the round ends, and the next one continues.
"""

from __future__ import annotations

from aisaas.billing.subscriptions.tasks import SubscriptionTasks
from aisaas.jobs.runner import Job, run

EVERY_SECONDS = 2.0


async def subscription_tasks(tasks: SubscriptionTasks, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled."""

    async def once() -> None:
        while await tasks.run_once():
            pass

    await run(
        Job(
            name="subscription_tasks",
            every=every,
            once=once,
            waits="tasks of subscriptions are done later",
            failed="doing tasks of subscriptions failed",
        )
    )
