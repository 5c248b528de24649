"""Compares ledger and meter, day by day."""

from __future__ import annotations

from aisaas.billing.metering.reconcile import Reconciliation
from aisaas.jobs.runner import Job, run

EVERY_SECONDS = 600.0


async def reconcile_usage(reconciliation: Reconciliation, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled. A day is compared once, however many processes look for its turn."""
    await run(
        Job(
            name="reconcile_usage",
            every=every,
            once=reconciliation.run_once,
            waits="ledger and meter are compared later",
            failed="comparing ledger and meter failed",
        )
    )
