"""Replies that run here obey the kill switches that are engaged meanwhile.

A signal wakes this process at once; without one it looks every LOOK_SECONDS while replies run, so
nothing hangs on Redis. Which switch says what is read from the database each time.

Outages: without the database replies go on; new calls are refused then anyhow.
"""

from __future__ import annotations

import logging

from aisaas.chat.running import RunningReplies
from aisaas.controls.kill_switch import KillSwitches
from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5


async def enforce_kill_switches(switches: KillSwitches, running: RunningReplies) -> None:
    """Runs until cancelled."""
    RUNS.began("heed_switches")
    while True:
        await switches.change(within=LOOK_SECONDS)
        try:
            if not running.idle:
                running.apply_kill_switches(await switches.engaged_scopes())
            RUNS.succeeded("heed_switches")
        except DependencyError:
            RUNS.failed("heed_switches")
            log.warning("kill switches not looked at: the database does not answer")
        except Exception:
            RUNS.failed("heed_switches")
            # An unexpected error in one round must not stop the later ones.
            log.exception("kill switches not looked at")
