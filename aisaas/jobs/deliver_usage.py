"""Sends usage to the payment provider's meter, and warns when it doesn't get there."""

from __future__ import annotations

from dataclasses import replace

from aisaas.billing.metering.outbox import Outbox
from aisaas.jobs.runner import Job, NextRound, one_round, run

AFTER_TROUBLE_SECONDS = 1.0
WATCH_EVERY_SECONDS = 300.0


async def deliver_usage(outbox: Outbox) -> None:
    """Runs until the outbox is stopped, or cancelled."""

    async def once() -> NextRound:
        return NextRound(await outbox.deliver_due())

    await run(
        Job(
            name="deliver_usage",
            every=AFTER_TROUBLE_SECONDS,
            once=once,
            waits="usage waits to be sent",
            failed="sending usage failed",
            rest=outbox.rest,
            over=lambda: outbox.stopping,
        )
    )


async def watch_usage(outbox: Outbox, *, every: float = WATCH_EVERY_SECONDS) -> None:
    """Runs until cancelled. Separate from the delivery, which may be stuck itself."""
    watch = Job(
        name="watch_usage",
        every=every,
        once=outbox.warn_if_late,
        waits="how late usage is could not be looked up",
        failed="looking for late usage failed",
        rests_first=True,
    )
    await one_round(replace(watch, once=outbox.warn_of_token_meter))
    await run(watch)
