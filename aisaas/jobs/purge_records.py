"""Removes money's records that are too old to be of use. Any process may, for all of them.

Outage: without the database nothing is removed until the next round.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.retention import Retention
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0


async def purge_records(retention: Retention) -> None:
    """Runs until cancelled."""
    RUNS.began("purge_records")
    while True:
        try:
            await retention.purge()
            RUNS.succeeded("purge_records")
        except DependencyError as error:
            RUNS.failed("purge_records")
            log.warning("old records wait to be removed: %s", error)
        except Exception:
            RUNS.failed("purge_records")
            # An unexpected error in one round must not stop the later ones.
            log.exception("removing old records failed")
        await asyncio.sleep(EVERY_SECONDS)
