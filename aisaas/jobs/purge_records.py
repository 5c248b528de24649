"""Removes records that are too old, that users deleted, or that belonged to deleted accounts. Any
process may run it, for all.

Outage: without the database nothing is removed until the next round.
"""

from __future__ import annotations

import logging

from aisaas.db.purging import Purge
from aisaas.jobs.runner import Job, one_round, run

log = logging.getLogger(__name__)

EVERY_SECONDS = 900.0


async def purge_records(purge: Purge, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled."""
    await run(_job(purge, every))


async def purge_once(purge: Purge) -> None:
    await one_round(_job(purge, EVERY_SECONDS))


def _job(purge: Purge, every: float) -> Job:
    async def once() -> None:
        if gone := {table: rows for table, rows in (await purge.run()).items() if rows}:
            log.info("removed old records: %s", gone)

    return Job(
        name="purge_records",
        every=every,
        once=once,
        waits="old records wait to be removed",
        failed="removing old records failed",
    )
