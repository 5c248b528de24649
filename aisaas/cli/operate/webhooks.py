"""`webhooks list|replay`: what became of the payment provider's events."""

from __future__ import annotations

import argparse
import json

from aisaas.cli.operate.operator import DONE, USAGE, acted, operator
from aisaas.cli.screen import complain, say
from aisaas.wiring import Services


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "replay"))
    parser.add_argument(
        "event", nargs="?", default="", help="an event ID; list: the beginning of an event ID"
    )
    parser.add_argument("--all", action="store_true", help="also list handled events")
    parser.add_argument("--reason", default="", help="replay: saved in the audit log")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "A replay fetches the event from Stripe and handles it as if it had just arrived. An event that "
        "was already handled isn't handled again. Stripe keeps events for 30 days."
    )


def execute(arguments: argparse.Namespace) -> int:
    if arguments.action == "replay" and not arguments.event:
        complain("Name an event. To find it, run `webhooks list`.")
        return USAGE
    act = _list if arguments.action == "list" else _replay
    return acted(lambda services: act(services, arguments), as_json=arguments.json)


async def _list(services: Services, arguments: argparse.Namespace) -> int:
    page = await services.money.webhooks.page(
        operator(), failed=not arguments.all, search=arguments.event
    )
    if arguments.json:
        shown = [
            {
                "id": each.id,
                "type": each.type,
                "status": each.status,
                "error": each.error,
                "failures": each.failures,
                "at": each.at.isoformat(),
            }
            for each in page.found
        ]
        say(json.dumps({"events": shown, "more": page.older}))
        return DONE
    for each in page.found:
        say(
            f"{each.at:%Y-%m-%d %H:%M}  {each.status:<10} {each.id}  {each.type}  {each.error or ''}"
        )
    if not page.found:
        say("No events." if arguments.all else "No failed events.")
    return DONE


async def _replay(services: Services, arguments: argparse.Namespace) -> int:
    outcome = await services.money.webhooks.replay(
        operator(), arguments.event, reason=arguments.reason
    )
    answer = {"event": arguments.event, "outcome": outcome}
    say(json.dumps(answer) if arguments.json else f"{arguments.event}: {outcome}.")
    return DONE
