"""Settles replies whose process is gone."""

from __future__ import annotations

import asyncio
import logging

from aisaas.chat.recover import Recovery
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0


async def recover_replies(recovery: Recovery) -> None:
    """Runs until cancelled. An outage is waited out: what is abandoned now still is then."""
    RUNS.began("recover_replies")
    while True:
        try:
            await recovery.run_when_steady()
            RUNS.succeeded("recover_replies")
        except DependencyError as error:
            RUNS.failed("recover_replies")
            log.warning("recovery waits: %s", error)
        except Exception:
            RUNS.failed("recover_replies")
            # An unexpected error in one round must not stop the later ones.
            log.exception("recovery failed")
        await asyncio.sleep(EVERY_SECONDS)
