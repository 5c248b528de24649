"""Keeps each price that is sold, with its date, and compares it with LiteLLM's pinned map. Any process may.

Outage: without the database nothing is kept until the next round; a call that is booked keeps its price
itself.
"""

from __future__ import annotations

import asyncio
import logging

from aisaas.admin.prices import Prices
from aisaas.errors import DependencyError, Unavailable
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0


async def record_prices(prices: Prices) -> None:
    """Runs until cancelled."""
    RUNS.began("record_prices")
    while True:
        try:
            await prices.record()
            RUNS.succeeded("record_prices")
        except (DependencyError, Unavailable) as error:
            RUNS.failed("record_prices")
            log.warning("prices wait to be recorded: %s", error)
        except Exception:
            RUNS.failed("record_prices")
            # An unexpected error in one round must not stop the later ones.
            log.exception("recording prices failed")
        await asyncio.sleep(EVERY_SECONDS)
