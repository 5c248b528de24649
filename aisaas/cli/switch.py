"""`switch`: the kill switch, for everything, a plan, a model or a provider."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import re

from aisaas.admin.limits import EVERYTHING
from aisaas.cli.environment import adopt, running
from aisaas.cli.screen import complain, say
from aisaas.settings import load
from aisaas.wiring import Services, build

SCOPE = re.compile(r"all|(plan|model|provider):\S+")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("engage", "lift", "list"))
    parser.add_argument(
        "scope",
        nargs="?",
        default=EVERYTHING,
        help="all (the default), plan:free, model:gpt-4o, provider:openai",
    )
    parser.add_argument("--reason", default="", help="kept in the audit log")
    parser.epilog = "New calls stop at once, in every process; running replies go on to their end."


def execute(arguments: argparse.Namespace) -> int:
    if not SCOPE.fullmatch(arguments.scope):
        complain(f"{arguments.scope!r} is no scope: write all, plan:…, model:… or provider:…")
        return 2
    adopt(running())
    return asyncio.run(_execute(arguments.action, arguments.scope, arguments.reason))


async def _execute(action: str, scope: str, reason: str) -> int:
    services = build(load())
    try:
        return await _act(services, action, scope, reason)
    finally:
        await services.close()


async def _act(services: Services, action: str, scope: str, reason: str) -> int:
    switches, actor = services.switches, f"operator:{getpass.getuser()}"
    if action == "list":
        for switch in await switches.engaged():
            say(f"{switch.scope}  since {switch.engaged_at:%Y-%m-%d %H:%M} UTC  {switch.reason}")
    elif action == "engage":
        changed = await switches.engage(scope, actor=actor, reason=reason)
        say(f"{scope}: new calls are stopped." if changed else f"{scope}: was engaged already.")
    else:
        changed = await switches.lift(scope, actor=actor, reason=reason)
        say(f"{scope}: calls go through again." if changed else f"{scope}: was not engaged.")
    return 0
