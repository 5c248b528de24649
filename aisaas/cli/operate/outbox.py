"""`outbox list|resend|resolve`: usage that is stuck on its way to the meter."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from aisaas.admin.outbox import TROUBLE
from aisaas.cli.operate.operator import DONE, USAGE, acted, agreed, operator
from aisaas.cli.screen import complain, say
from aisaas.formats import exact_usd
from aisaas.wiring import Services


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "resend", "resolve"))
    parser.add_argument("rows", nargs="*", help="record IDs; list: the beginning of a customer ID")
    parser.add_argument("--as", dest="resolution", choices=("counted", "waived"), help="resolve")
    parser.add_argument("--reason", default="", help="saved in the audit log")
    parser.add_argument(
        "--yes", action="store_true", help="resolve without asking for confirmation"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "The meter refused a dead record. It may have counted a parked one, so a parked record is "
        "compared before it is resent. Waived records are never billed; this can't be undone."
    )


def execute(arguments: argparse.Namespace) -> int:
    if arguments.action != "list" and not arguments.rows:
        complain("Name the records. To find them, run `outbox list`.")
        return USAGE
    if arguments.action == "resolve" and arguments.resolution is None:
        complain("Add a resolution: --as counted or --as waived.")
        return USAGE
    try:
        ids = [] if arguments.action == "list" else [UUID(row) for row in arguments.rows]
    except ValueError:
        complain("Record IDs look like 8c5b0f6e-…. To find them, run `outbox list`.")
        return USAGE
    question = f"Mark {len(ids)} records as {arguments.resolution}?"
    if arguments.action == "resolve" and not agreed(question, yes=arguments.yes):
        return USAGE
    if arguments.action == "list":
        return acted(lambda services: _list(services, arguments), as_json=arguments.json)
    return acted(lambda services: _act(services, arguments, ids), as_json=arguments.json)


async def _list(services: Services, arguments: argparse.Namespace) -> int:
    search = arguments.rows[0] if arguments.rows else ""
    page = await services.money.usage.page(operator(), TROUBLE, search=search)
    if arguments.json:
        shown = [
            {
                "id": str(each.id),
                "state": each.state,
                "customer": each.customer,
                "tokens": each.tokens,
                "micro_usd": each.micro_usd,
                "event_at": each.event_at.isoformat(),
                "error": each.last_error,
            }
            for each in page.found
        ]
        say(json.dumps({"rows": shown, "more": page.older}))
        return DONE
    for each in page.found:
        say(
            f"{each.event_at:%Y-%m-%d %H:%M}  {each.state:<6} {each.id}  {each.customer}"
            f"  {each.tokens:,} tokens  {_usd(each.micro_usd)}  {each.last_error or ''}"
        )
    if not page.found:
        say("No stuck usage.")
    return DONE


def _usd(micro_usd: int | None) -> str:
    return "" if micro_usd is None else exact_usd(Decimal(micro_usd) / 1_000_000)


async def _act(services: Services, arguments: argparse.Namespace, ids: Sequence[UUID]) -> int:
    usage, reason = services.money.usage, arguments.reason
    if arguments.action == "resend":
        done = await usage.resend(operator(), ids, reason=reason)
        answer = {"resent": done.resent, "counted": done.counted}
        words = f"{done.resent} will be resent; the meter already has {done.counted}."
    else:
        count = await usage.resolve(operator(), ids, arguments.resolution, reason=reason)
        answer = {arguments.resolution: count}
        words = f"{count} records marked as {arguments.resolution}."
    say(json.dumps(answer) if arguments.json else words)
    return DONE
