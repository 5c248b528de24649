"""Removes what is too old to be of use, what users deleted, and what accounts that are gone left
behind. Any process may, for all of them.

Outage: without the database nothing is removed until the next round.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.db.purging import Purge
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 900.0


async def purge_records(purge: Purge) -> None:
    """Runs until cancelled."""
    RUNS.began("purge_records")
    while True:
        await purge_once(purge)
        await asyncio.sleep(EVERY_SECONDS)


async def purge_once(purge: Purge) -> None:
    try:
        removed = await purge.run()
        RUNS.succeeded("purge_records")
    except DependencyError as error:
        RUNS.failed("purge_records")
        log.warning("old records wait to be removed: %s", error)
    except Exception:
        RUNS.failed("purge_records")
        # An unexpected error in one round must not stop the later ones.
        log.exception("removing old records failed")
    else:
        if gone := {table: rows for table, rows in removed.items() if rows}:
            log.info("removed old records: %s", gone)
