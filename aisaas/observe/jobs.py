"""When each job last succeeded, across all processes: a job that no longer runs is silent, and only
its last success shows it.

Jobs record it here; `share_job_runs` copies it to where every process reads it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from aisaas.observe.metrics import JOB_ITEMS_FAILED, JOB_RUNS


class JobTimes(Protocol):
    """When each job last succeeded, over all processes; seconds since the epoch.

    Both raise DependencyError when the times can't be read or written.
    """

    async def note(self, begun: Mapping[str, float], succeeded: Mapping[str, float]) -> None:
        """Enter successes; where none is known yet, when the job began to run."""
        ...

    async def read(self) -> Mapping[str, float]: ...


# By then each should have succeeded again, with patience: seconds.
EXPECTED_SECONDS: Mapping[str, float] = {
    "recover_replies": 120,
    "end_replies": 300,
    "enforce_kill_switches": 120,
    "alert_spending": 120,
    "alert_providers": 120,
    "record_refusals": 120,
    "record_provider_health": 120,
    "deliver_notices": 300,
    "deliver_usage": 300,
    "watch_usage": 1200,
    "reconcile_usage": 3600,
    "purge_records": 4 * 3600,
    "record_prices": 4 * 3600,
    "synchronise_subscriptions": 3600,
    "subscription_tasks": 300,
}


class JobRuns:
    """Of this process. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._succeeded: dict[str, float] = {}

    def began(self, job: str) -> None:
        """It runs here from now on. A job that never succeeds is late from then."""
        self._begun.setdefault(job, time.time())
        for result in ("done", "failed"):
            JOB_RUNS.labels(job, result)
        JOB_ITEMS_FAILED.labels(job)

    def succeeded(self, job: str) -> None:
        self._succeeded[job] = time.time()
        JOB_RUNS.labels(job, "done").inc()

    def failed(self, job: str) -> None:
        JOB_RUNS.labels(job, "failed").inc()

    @property
    def begun(self) -> Mapping[str, float]:
        return dict(self._begun)

    @property
    def successes(self) -> Mapping[str, float]:
        return dict(self._succeeded)


RUNS = JobRuns()
