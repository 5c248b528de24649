"""Compares ledger and meter, day by day."""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.metering.reconcile import Reconciliation
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 600.0


async def reconcile_usage(reconciliation: Reconciliation) -> None:
    """Runs until cancelled. A day is compared once, however many processes look for its turn."""
    RUNS.began("reconcile_usage")
    while True:
        try:
            await reconciliation.run_once()
            RUNS.succeeded("reconcile_usage")
        except DependencyError as error:
            RUNS.failed("reconcile_usage")
            log.warning("ledger and meter are compared later: %s", error)
        except Exception:
            RUNS.failed("reconcile_usage")
            # An unexpected error in one round must not stop the later ones.
            log.exception("comparing ledger and meter failed")
        await asyncio.sleep(EVERY_SECONDS)
