"""Settles replies whose process is gone."""

from __future__ import annotations

from aisaas.chat.recover import Recovery
from aisaas.jobs.runner import Job, run

EVERY_SECONDS = 2.0


async def recover_replies(recovery: Recovery, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled. Waits out an outage: replies abandoned now can be recovered
    afterwards."""
    await run(
        Job(
            name="recover_replies",
            every=every,
            once=recovery.run_when_steady,
            waits="recovery waits",
            failed="recovery failed",
        )
    )
