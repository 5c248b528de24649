"""Writes how providers did in this process, and which circuits are open in it."""

from __future__ import annotations

import asyncio
import logging

from aisaas.billing.providers.health import ProviderHealth
from aisaas.errors import DependencyError, TooSlow
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0


async def record_provider_health(health: ProviderHealth, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled, `every` so many seconds. What an outage keeps from being written is written
    after it."""
    RUNS.began("record_provider_health")
    while True:
        try:
            await health.flush()
            RUNS.succeeded("record_provider_health")
        except (DependencyError, TooSlow) as error:
            RUNS.failed("record_provider_health")
            log.warning("attempts at providers wait to be recorded: %s", error)
        except Exception:
            RUNS.failed("record_provider_health")
            # An unexpected error in one round must not stop the later ones.
            log.exception("recording attempts at providers failed")
        await asyncio.sleep(every)


async def leave_provider_health(health: ProviderHealth) -> None:
    """At the end of the process: once more, and then no more."""
    try:
        await health.leave()
    except (DependencyError, TooSlow) as error:
        log.warning("the last attempts at providers are not recorded: %s", error)
    except Exception:
        # Whatever it is, the process has more to let go of.
        log.exception("recording the last attempts at providers failed")
