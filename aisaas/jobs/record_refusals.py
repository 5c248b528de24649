"""Writes the refusals that were counted in this process."""

from __future__ import annotations

import logging

from aisaas.billing.reservations.refusals import Refusals
from aisaas.errors import DependencyError
from aisaas.jobs.runner import Job, run

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0


async def record_refusals(refusals: Refusals, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled, `every` so many seconds. What an outage keeps from being written is written
    after it."""
    await run(
        Job(
            name="record_refusals",
            every=every,
            once=refusals.flush,
            waits="refusals wait to be recorded",
            failed="recording refusals failed",
        )
    )


async def record_the_last(refusals: Refusals) -> None:
    """At the end of the process: record one last time."""
    try:
        await refusals.flush()
    except DependencyError as error:
        log.warning("the last refusals are not recorded: %s", error)
    except Exception:
        # Whatever the error is, the shutdown has to continue.
        log.exception("recording the last refusals failed")
