"""Detects providers that refuse our key or no longer know a model. Any process may run it, for all.

Outages: without the database nothing is checked, and the next check finds the failures; without the
webhook's server its alerts wait here, and emails still go out.
"""

from __future__ import annotations

from aisaas.billing.providers.alerts import ProviderAlerts
from aisaas.jobs.runner import Job, run

EVERY_SECONDS = 10.0


async def alert_providers(alerts: ProviderAlerts, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled."""

    async def once() -> None:
        await alerts.look_once()
        await alerts.deliver_once()

    await run(
        Job(
            name="alert_providers",
            every=every,
            once=once,
            waits="alerts about providers wait",
            failed="looking for providers that refuse us failed",
        )
    )
