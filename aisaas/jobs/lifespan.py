"""The process's life: warm up, run the jobs; at the end let replies finish, then release
connections."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager

from aisaas import observing
from aisaas.jobs.alert_providers import alert_providers
from aisaas.jobs.alert_spending import alert_spending
from aisaas.jobs.deliver_notices import deliver_notices
from aisaas.jobs.deliver_usage import deliver_usage, watch_usage
from aisaas.jobs.end_replies import end_replies
from aisaas.jobs.enforce_kill_switches import enforce_kill_switches
from aisaas.jobs.purge_records import purge_records
from aisaas.jobs.reconcile_usage import reconcile_usage
from aisaas.jobs.record_prices import record_prices
from aisaas.jobs.record_provider_health import leave_provider_health, record_provider_health
from aisaas.jobs.record_refusals import record_refusals, record_the_last
from aisaas.jobs.recover_replies import recover_replies
from aisaas.jobs.subscription_tasks import subscription_tasks
from aisaas.jobs.synchronise_subscriptions import synchronise_subscriptions
from aisaas.jobs.watch_process import share_job_runs, watch_process
from aisaas.observe.loop_watch import loop_watched
from aisaas.observe.pulse import VARIABLE as PULSE
from aisaas.observe.pulse import answered
from aisaas.wiring import Services

log = logging.getLogger(__name__)

# Longer than the mail in flight may take to end.
CANCEL_AGAIN_SECONDS = 6.0
# A listener has nothing in flight.
INTERRUPT_AGAIN_SECONDS = 0.25
# Connections not released by then close with the process.
CLOSE_SECONDS = 2.0


@asynccontextmanager
async def lifespan(services: Callable[[], Services]) -> AsyncGenerator[None]:
    """For the app: the services of this process are alive inside the block."""
    try:
        these = services()
        async with running(these), answered(os.environ.get(PULSE)), loop_watched():
            _end_gently(these)
            settling = asyncio.create_task(_keep_for_good(these))
            settling.add_done_callback(report)
            yield
            settling.cancel()
    finally:
        await observing.end()


async def _keep_for_good(these: Services) -> None:
    """Once everything is loaded, take what is there out of garbage collection.

    A full collection walks half a million objects of libraries, which stay until the end anyway. It
    holds all replies up for 0.2 to 0.4 s each time.
    """
    await these.model.warm()
    gc.collect()
    gc.freeze()


def _end_gently(these: Services) -> None:
    """On SIGTERM replies finish while their tabs still watch; then the server ends as on SIGINT.

    The server itself would stop serving its sockets before running the shutdown below: to a tab
    that looks like a connection that is silent for the whole grace period.
    """
    ending: list[asyncio.Task[None]] = []

    async def end() -> None:
        try:
            await these.running.shut_down(these.settings.shutdown_grace_seconds)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def asked() -> None:
        these.draining.begin()
        if not ending:
            ending.append(asyncio.create_task(end()))

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked)


@asynccontextmanager
async def running(these: Services) -> AsyncGenerator[None]:
    """Jobs and listeners of `these` run inside the block; replies settle at its end."""
    listeners = [
        these.running.listen_for_stops(),
        these.billing_changes.listen(),
        these.switches.listen(),
    ]
    work = [
        these.model.warm(),
        these.running.renew_leases(),
        end_replies(these.accounts, these.running),
        enforce_kill_switches(these.switches, these.running),
        record_refusals(these.refusals),
        record_provider_health(these.provider_health),
        watch_process(these.running, these.pools),
        share_job_runs(these.job_times),
        *(anywhere(these) + paid(these) if these.settings.run_jobs else []),
    ]
    listening = [asyncio.create_task(listener) for listener in listeners]
    tasks = [asyncio.create_task(job) for job in work]
    for task in [*listening, *tasks]:
        task.add_done_callback(report)
    try:
        yield
    finally:
        if these.metering is not None:
            # Rows that were just sent can be recorded meanwhile; the rest waits for another
            # process.
            these.metering.outbox.stop()
        these.draining.begin()
        # Leases are renewed until the last reply has settled.
        await these.running.shut_down(these.settings.shutdown_grace_seconds)
        await asyncio.gather(end(listening, again=INTERRUPT_AGAIN_SECONDS), end(tasks))
        await record_the_last(these.refusals)
        await leave_provider_health(these.provider_health)
        await close(these)


async def end(
    tasks: Collection[asyncio.Task[None]], *, again: float = CANCEL_AGAIN_SECONDS
) -> None:
    """Cancel until it takes effect: a client library sometimes loses a cancellation in the middle
    of a command, and its listener would keep listening."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again)


async def close(these: Services) -> None:
    """Release every connection, but don't wait for a silent server."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await these.close()
    except TimeoutError:
        log.warning("some connections were still open after %.0f s", CLOSE_SECONDS)


def anywhere(these: Services) -> list[Coroutine[None, None, None]]:
    """The jobs that any process may do for all the others; one at least has to."""
    return [
        recover_replies(these.recovery),
        deliver_notices(these.notice_mails),
        alert_spending(these.spending_alerts, these.loss_alerts),
        alert_providers(these.provider_alerts),
        purge_records(these.purge),
        record_prices(these.prices),
    ]


def paid(these: Services) -> list[Coroutine[None, None, None]]:
    """The jobs that need the payment provider; none without one. Any process may do them."""
    work: list[Coroutine[None, None, None]] = []
    if these.metering is not None:
        outbox = these.metering.outbox
        work += [deliver_usage(outbox), watch_usage(outbox)]
        work.append(reconcile_usage(these.metering.reconciliation))
    if these.subscriptions is not None:
        work.append(synchronise_subscriptions(these.subscriptions))
    if these.subscription_tasks is not None:
        work.append(subscription_tasks(these.subscription_tasks))
    return work


def report(task: asyncio.Task[object]) -> None:
    """For a job's end: say so when it wasn't meant to be."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background job ended", exc_info=error)
