"""Keeps each price that is sold, with its date, and compares it with LiteLLM's pinned map. Any process may.

Outage: without the database nothing is kept until the next round; a call that is booked keeps its price
itself.
"""

from __future__ import annotations

from aisaas.admin.prices import Prices
from aisaas.errors import DependencyError, Unavailable
from aisaas.jobs.runner import Job, run

EVERY_SECONDS = 3600.0


async def record_prices(prices: Prices, *, every: float = EVERY_SECONDS) -> None:
    """Runs until cancelled."""
    await run(
        Job(
            name="record_prices",
            every=every,
            once=prices.record,
            waits="prices wait to be recorded",
            failed="recording prices failed",
            outages=(DependencyError, Unavailable),
        )
    )
