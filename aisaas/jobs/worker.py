"""What a process without users does: the jobs that any process may do for all the others.

Jobs that look after a process's own replies and counts stay in that process (`lifespan`).
"""

from __future__ import annotations

import asyncio

from aisaas.jobs.lifespan import anywhere, end, paid, report
from aisaas.jobs.watch_process import share_job_runs, watch_process
from aisaas.wiring import Services

# Longer than a call to the payment provider can take.
LAST_CALLS_SECONDS = 15.0


async def work(these: Services, stopping: asyncio.Event) -> None:
    """Runs until `stopping` is set; then calls that are in flight end before it returns."""
    others = [asyncio.create_task(job) for job in anywhere(these)]
    payments = [asyncio.create_task(job) for job in paid(these)]
    monitoring = [
        asyncio.create_task(job)
        for job in (
            share_job_runs(these.job_times),
            watch_process(these.running, these.pools),
        )
    ]
    jobs = [*others, *payments, *monitoring]
    for job in jobs:
        job.add_done_callback(report)
    await stopping.wait()
    if these.metering is not None:
        these.metering.outbox.stop()
        # Only the delivery ends on its own.
        await asyncio.wait(payments, timeout=LAST_CALLS_SECONDS, return_when="FIRST_COMPLETED")
    await end(jobs)
