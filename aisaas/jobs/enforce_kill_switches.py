"""Stops this process's running replies when a kill switch is engaged.

A signal wakes this process at once; without one it checks every LOOK_SECONDS while replies run, so
nothing depends on Redis. The switches are read from the database each time.

Outages: without the database replies continue; new calls are refused then anyway.
"""

from __future__ import annotations

from aisaas.chat.running import RunningReplies
from aisaas.controls.kill_switch import KillSwitches
from aisaas.jobs.runner import Job, run

LOOK_SECONDS = 0.5


async def enforce_kill_switches(switches: KillSwitches, running: RunningReplies) -> None:
    """Runs until cancelled."""

    async def once() -> None:
        if not running.idle:
            running.apply_kill_switches(await switches.engaged_scopes())

    await run(
        Job(
            name="enforce_kill_switches",
            every=LOOK_SECONDS,
            once=once,
            waits="kill switches not looked at",
            failed="kill switches not looked at",
            rest=lambda seconds: switches.change(within=seconds),
            rests_first=True,
        )
    )
