"""Writes how providers did in this process, and which circuits are open in it."""

from __future__ import annotations

import logging

from aisaas.billing.providers.health import ProviderHealth
from aisaas.errors import DependencyError, TooSlow
from aisaas.jobs.runner import Job, run

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0


async def record_provider_health(health: ProviderHealth, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled, `every` so many seconds. What an outage keeps from being written is written
    after it."""
    await run(
        Job(
            name="record_provider_health",
            every=every,
            once=health.flush,
            waits="attempts at providers wait to be recorded",
            failed="recording attempts at providers failed",
            outages=(DependencyError, TooSlow),
        )
    )


async def leave_provider_health(health: ProviderHealth) -> None:
    """At the end of the process: record one last time."""
    try:
        await health.leave()
    except (DependencyError, TooSlow) as error:
        log.warning("the last attempts at providers are not recorded: %s", error)
    except Exception:
        # Whatever the error is, the shutdown has to continue.
        log.exception("recording the last attempts at providers failed")
