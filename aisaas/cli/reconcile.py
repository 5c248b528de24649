"""`reconcile`: compares ledger and meter, and corrects what differs."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
from datetime import date

from aisaas.cli.environment import adopt, running
from aisaas.cli.screen import complain, say
from aisaas.errors import Refusal
from aisaas.settings import load
from aisaas.wiring import build

USAGE = 2


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--day", type=date.fromisoformat, help="a day (UTC), else all that are due")
    parser.add_argument("--correct", action="store_true", help="put right what differs")
    parser.add_argument("--reason", default="", help="of a correction; kept in the audit log")
    parser.add_argument("--yes", action="store_true", help="correct without asking")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    parser.epilog = "What Stripe can't take back any more is told, to be credited by hand."


def execute(arguments: argparse.Namespace) -> int:
    if arguments.correct and not arguments.yes and input("Correct the meter? [y/N] ") != "y":
        return USAGE
    adopt(running())
    try:
        return asyncio.run(_execute(arguments))
    except Refusal as refusal:
        complain(refusal.sentence)
        return USAGE


async def _execute(arguments: argparse.Namespace) -> int:
    services, operator = build(load()), f"operator:{getpass.getuser()}"
    ledger = services.money.ledger
    try:
        if arguments.day:
            await ledger.compare_day(operator, arguments.day)
        else:
            await ledger.compare_due(operator)
        page = await ledger.page(operator, limit=1000)
        found = [each for each in page.found if arguments.day in {None, each.day}]
        for each in found:
            shown = {"customer": each.customer, "day": str(each.day), "drift": each.drift}
            if arguments.correct:
                try:
                    done = await ledger.correct(
                        operator, each.customer, each.day, reason=arguments.reason
                    )
                    shown |= {"remedy": done.remedy, "late": done.late}
                except Refusal as refusal:
                    shown |= {"refused": refusal.sentence}
            say(json.dumps(shown) if arguments.json else "  ".join(map(str, shown.values())))
    finally:
        await services.close()
    return 0
