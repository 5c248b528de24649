"""`worker`: the jobs that need no users, in a separate process.

The app runs them too; a worker takes them over, and keeps running them while the app is down. Any
number of both is safe. Its metrics and health are at WORKER_PORT.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from granian.constants import Interfaces
from granian.server.embed import Server

from aisaas import observing
from aisaas.api import health, metrics
from aisaas.api.serving import serving
from aisaas.cli.environment import adopt, running
from aisaas.cli.serve.systemd import READY, STOPPING, Watchdog, notify
from aisaas.cli.voice import Voice, voice
from aisaas.jobs.lifespan import close
from aisaas.jobs.worker import work
from aisaas.observe.loop_watch import loop_watched
from aisaas.settings import Settings, settings
from aisaas.wiring import Services, build
from childprocess.ports import HOST, is_free

# Without systemd nothing else watches this process; its parent restarts it.
BLOCKED_SECONDS = 15.0
BEAT_SECONDS = 1.0
CLOSE_SECONDS = 2.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default=HOST, help=f"where to serve its metrics: {HOST} by default"
    )
    parser.epilog = (
        "Exits on Ctrl-C or SIGTERM, after the calls in progress. Serves /health, /ready, and /metrics "
        "on WORKER_PORT."
    )


def execute(arguments: argparse.Namespace) -> int:
    adopt(running())
    config = settings()
    heard = voice("worker")
    observing.begin(config)
    asyncio.run(_work(config, arguments.host, heard))
    return 0


async def _work(config: Settings, host: str, heard: Voice) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    these = build(config)
    metered = "metering" if these.metering else "no metering, as payments are not set up"
    mailed = "mails" if these.notice_mails else "no mails, as SMTP_URL is not set"
    try:
        async with (
            loop_watched(exit_after=BLOCKED_SECONDS),
            _figures_served(these, host, heard),
            _beating(),
        ):
            heard.say(f"Working: recovery, {metered}, {mailed}.")
            notify(READY)
            await work(these, stopping)
            notify(STOPPING)
    finally:
        await _let_go(these)
    heard.say("Stopped.")


async def _let_go(these: Services) -> None:
    await close(these)
    await observing.end()


@asynccontextmanager
async def _beating() -> AsyncGenerator[None]:
    """From the event loop, so that systemd hears nothing when that stands still."""
    watchdog = Watchdog()

    async def beat() -> None:
        while True:
            watchdog.beat()
            await asyncio.sleep(BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


@asynccontextmanager
async def _figures_served(these: Services, host: str, heard: Voice) -> AsyncGenerator[None]:
    """Inside the block. A second worker of the same machine does its jobs all the same."""
    port = these.settings.worker_port
    if not is_free(port):
        heard.warn(
            f"The figures of this worker are not served: port {port} is in use. Set WORKER_PORT."
        )
        yield
        return
    app = serving([*health.routes(), *metrics.routes()], lambda: these)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
    )
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.stop()
        await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        task.cancel()
