"""Checks every subscription that can still change once a day, in case its webhooks were lost, and
plans that just ended while another subscription may continue.

Outages: without the provider or the database the round ends and the next one continues; the user
being checked is retried after a few minutes.
"""

from __future__ import annotations

from aisaas.billing.subscriptions.subscriptions import Subscriptions
from aisaas.jobs.runner import Job, run

EVERY_SECONDS = 300.0
# Users whom one process takes at a time.
BATCH = 20


async def synchronise_subscriptions(
    subscriptions: Subscriptions, *, every: float = EVERY_SECONDS
) -> None:
    """Runs until cancelled."""

    async def once() -> None:
        while await subscriptions.look_again(BATCH):
            pass

    await run(
        Job(
            name="synchronise_subscriptions",
            every=every,
            once=once,
            waits="subscriptions are looked at later",
            failed="looking at subscriptions failed",
        )
    )
