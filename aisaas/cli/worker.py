"""`worker`: the jobs that need no users, in a process of their own.

The app does them too; a worker goes on with them while the app is down, and takes them off its
hands. Any number of both is safe.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from aisaas import observing
from aisaas.cli.environment import adopt, running
from aisaas.cli.screen import say
from aisaas.jobs.worker import work
from aisaas.settings import Settings, load
from aisaas.wiring import build


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exits on Ctrl-C or SIGTERM, after the calls in progress."


def execute(_: argparse.Namespace) -> int:
    adopt(running())
    config = load()
    observing.begin(config)
    asyncio.run(_work(config))
    return 0


async def _work(config: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    services = build(config)
    metered = "metering" if services.metering else "no metering, as payments are not set up"
    mailed = "mails" if services.notice_mails else "no mails, as SMTP_URL is not set"
    say(f"Working: recovery, {metered}, {mailed}.")
    try:
        await work(services, stopping)
    finally:
        await services.close()
        await observing.end()
    say("Stopped.")
