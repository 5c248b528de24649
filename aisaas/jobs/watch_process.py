"""Looks after this process's own figures: its replies, its pools, how late its event loop is; and
tells all processes when its jobs last succeeded.

Outage: without Redis the others learn of the jobs later.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS
from aisaas.observe.metrics import LOOP_LAG_SECONDS, POOL_IN_USE, POOL_LIMIT, REPLIES_HERE
from aisaas.wiring import Services

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
SHARE_EVERY_SECONDS = 10.0


async def watch_process(these: Services) -> None:
    """Runs until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        asked = loop.time()
        await asyncio.sleep(EVERY_SECONDS)
        LOOP_LAG_SECONDS.observe(max(loop.time() - asked - EVERY_SECONDS, 0.0))
        sample(these)


def sample(these: Services) -> None:
    """The gauges, as they are at this moment."""
    REPLIES_HERE.set(these.running.count)
    for login, pools in these.pools().items():
        for pool, use in pools.items():
            POOL_IN_USE.labels(login, pool).set(use.in_use)
            POOL_LIMIT.labels(login, pool).set(use.limit)


async def share_job_runs(these: Services) -> None:
    """Runs until cancelled."""
    while True:
        await share_job_runs_once(these)
        await asyncio.sleep(SHARE_EVERY_SECONDS)


async def share_job_runs_once(these: Services) -> None:
    try:
        await these.job_times.note(RUNS.begun, RUNS.successes)
    except DependencyError as error:
        log.info("when jobs succeeded is told later: %s", error)
    except Exception:
        # An unexpected error in one round must not stop the later ones.
        log.exception("when jobs succeeded could not be told")
