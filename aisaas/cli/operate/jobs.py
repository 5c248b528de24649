"""`jobs list|retry`: items that background jobs have set aside."""

from __future__ import annotations

import argparse
import json

from aisaas.cli.operate.operator import DONE, USAGE, acted, operator
from aisaas.cli.screen import complain, say
from aisaas.wiring import Services


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "retry"))
    parser.add_argument("job", nargs="?", default="", help="retry: the job, as listed")
    parser.add_argument("item", nargs="?", default="", help="retry: the item, as listed")
    parser.add_argument("--reason", default="", help="retry: saved in the audit log")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "A job retries an item several times, then sets it aside and continues with the others. A retry "
        "makes the item due at once; the job processes it in its turn."
    )


def execute(arguments: argparse.Namespace) -> int:
    if arguments.action == "retry" and not (arguments.job and arguments.item):
        complain("Name an item. To find it, run `jobs list`.")
        return USAGE
    act = _list if arguments.action == "list" else _retry
    return acted(lambda services: act(services, arguments), as_json=arguments.json)


async def _list(services: Services, arguments: argparse.Namespace) -> int:
    page = await services.money.failed_jobs.page(operator())
    if arguments.json:
        shown = [
            {
                "job": each.job,
                "item": each.item,
                "about": each.about,
                "attempts": each.attempts,
                "error": each.last_error,
                "at": each.last_at.isoformat(),
            }
            for each in page.found
        ]
        say(json.dumps({"items": shown, "more": page.more}))
        return DONE
    for each in page.found:
        about = f"  ({each.about})" if each.about else ""
        say(
            f"{each.last_at:%Y-%m-%d %H:%M}  {each.job}  {each.item!r}{about}"
            f"  {each.attempts} tries  {each.last_error}"
        )
    if not page.found:
        say("No items are set aside.")
    return DONE


async def _retry(services: Services, arguments: argparse.Namespace) -> int:
    await services.money.failed_jobs.retry(
        operator(), arguments.job, arguments.item, reason=arguments.reason
    )
    answer = {"job": arguments.job, "item": arguments.item}
    say(json.dumps(answer) if arguments.json else f"{arguments.item} will be retried.")
    return DONE
