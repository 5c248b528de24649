"""Looks after this process's own figures: its replies, its pools, how late its event loop is; and
tells all processes when its jobs last succeeded.

Outage: without Redis the others learn of the jobs later.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from aisaas.chat.running import RunningReplies
from aisaas.db.engine import PoolUse
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS, JobTimes
from aisaas.observe.metrics import (
    FILES_HERE,
    LOOP_LAG_SECONDS,
    MEMORY_HERE,
    POOL_IN_USE,
    POOL_LIMIT,
    REPLIES_HERE,
)

log = logging.getLogger(__name__)

# How much of each login's pools is in use.
Pools = Callable[[], Mapping[str, Mapping[str, PoolUse]]]

EVERY_SECONDS = 1.0
SHARE_EVERY_SECONDS = 10.0
_STATM = Path("/proc/self/statm")
_DESCRIPTORS = Path("/proc/self/fd")


async def watch_process(running: RunningReplies, pools: Pools) -> None:
    """Runs until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        asked = loop.time()
        await asyncio.sleep(EVERY_SECONDS)
        LOOP_LAG_SECONDS.observe(max(loop.time() - asked - EVERY_SECONDS, 0.0))
        sample(running, pools)


def sample(running: RunningReplies, pools: Pools) -> None:
    """The gauges, as they are at this moment."""
    REPLIES_HERE.set(running.count)
    if (memory := _resident_bytes()) is not None:
        MEMORY_HERE.set(memory)
    if _DESCRIPTORS.is_dir():
        FILES_HERE.set(sum(1 for _ in _DESCRIPTORS.iterdir()))
    for login, its_pools in pools().items():
        for pool, use in its_pools.items():
            POOL_IN_USE.labels(login, pool).set(use.in_use)
            POOL_LIMIT.labels(login, pool).set(use.limit)


def _resident_bytes() -> int | None:
    """None where the system doesn't tell."""
    if not _STATM.is_file():
        return None
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def share_job_runs(times: JobTimes) -> None:
    """Runs until cancelled."""
    while True:
        await share_job_runs_once(times)
        await asyncio.sleep(SHARE_EVERY_SECONDS)


async def share_job_runs_once(times: JobTimes) -> None:
    try:
        await times.note(RUNS.begun, RUNS.successes)
    except DependencyError as error:
        log.info("the last runs of jobs are shared later: %s", error)
    except Exception:
        # An unexpected error in one round must not stop the later ones.
        log.exception("the last runs of jobs could not be shared")
