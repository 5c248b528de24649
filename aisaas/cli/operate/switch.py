"""`switch`: the kill switch for everything, a plan, a model, or a provider."""

from __future__ import annotations

import argparse
import json

from aisaas.cli.operate.operator import DONE, acted, operator
from aisaas.cli.screen import say
from aisaas.controls.kill_switch import EVERYTHING
from aisaas.wiring import Services


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("engage", "lift", "list"))
    parser.add_argument(
        "scope",
        nargs="?",
        default=EVERYTHING,
        help="all (the default), plan:free, model:gpt-4o, provider:openai",
    )
    parser.add_argument("--reason", default="", help="saved in the audit log")
    parser.add_argument(
        "--stop-running",
        action="store_true",
        help="with engage: also stop running replies; the tokens generated so far count",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "New calls are refused at once, in every process. Running replies finish, unless you add "
        "--stop-running."
    )


def execute(arguments: argparse.Namespace) -> int:
    return acted(lambda services: _act(services, arguments), as_json=arguments.json)


async def _act(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.action == "list":
        await _list(services, as_json=arguments.json)
    else:
        await _turn(services, arguments)
    return DONE


async def _list(services: Services, *, as_json: bool) -> None:
    engaged = await services.switches.engaged()
    if as_json:
        say(
            json.dumps(
                [
                    {
                        "scope": switch.scope,
                        "since": switch.engaged_at.isoformat(),
                        "by": switch.engaged_by,
                        "reason": switch.reason,
                        "stop_running": switch.stop_running,
                    }
                    for switch in engaged
                ]
            )
        )
        return
    for switch in engaged:
        running = "  stops running replies" if switch.stop_running else ""
        since = f"since {switch.engaged_at:%Y-%m-%d %H:%M} UTC"
        say(f"{switch.scope}  {since}{running}  {switch.reason}")


async def _turn(services: Services, arguments: argparse.Namespace) -> None:
    switches, scope, on = services.switches, arguments.scope, arguments.action == "engage"
    actor, reason = operator(), arguments.reason
    if on:
        # It may be for a model that an admin added.
        await services.live_catalogue.read()
        changed = await switches.engage(
            scope, actor=actor, reason=reason, stop_running=arguments.stop_running
        )
    else:
        changed = await switches.lift(scope, actor=actor, reason=reason)
    if arguments.json:
        say(json.dumps({"scope": scope, "engaged": on, "changed": changed}))
    elif not changed:
        say(f"{scope}: already engaged." if on else f"{scope}: not engaged.")
    elif on:
        what = "new calls and running replies" if arguments.stop_running else "new calls"
        say(f"{scope}: {what} are stopped.")
    else:
        say(f"{scope}: calls resumed.")
