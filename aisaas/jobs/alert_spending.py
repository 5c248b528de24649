"""Checks spending against the caps, and sends the webhook the alerts that are due: about spending,
and about losses, which settling records. Any process may run it, for all.

Outages: without the database nothing is checked, and the next check finds the crossed lines;
without the webhook's server alerts wait, and emails still go out.
"""

from __future__ import annotations

from aisaas.billing.notices.alert_delivery import AlertDelivery
from aisaas.controls.spending_alerts import SpendingAlerts
from aisaas.jobs.runner import Job, run

EVERY_SECONDS = 5.0


async def alert_spending(
    alerts: SpendingAlerts, losses: AlertDelivery, *, every: float = EVERY_SECONDS
) -> None:
    """Runs until cancelled."""

    async def once() -> None:
        await alerts.look_once()
        await alerts.deliver_once()
        await losses.deliver_once()

    await run(
        Job(
            name="alert_spending",
            every=every,
            once=once,
            waits="alerts about spending and losses wait",
            failed="looking at what is spent failed",
        )
    )
