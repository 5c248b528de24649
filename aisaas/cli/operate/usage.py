"""`usage export`: usage as CSV or JSON. `usage check`: whether the dashboard's sums match the
ledger. `usage recompute`: whether each ledger line's amount is correct."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import date, timedelta
from pathlib import Path
from typing import TextIO, get_args

from aisaas.admin.usage import UsageReports
from aisaas.admin.usage_export import Format, csv_text, json_text
from aisaas.billing.ledger.recompute import Receipt
from aisaas.billing.ledger.usage_models import By, Difference, Span
from aisaas.cli.operate.operator import USAGE, acted, operator
from aisaas.cli.screen import complain, say
from aisaas.wiring import Services

LATELY_DAYS = 30
# Differences that are shown; more of them say nothing more.
SHOWN = 50


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    export = actions.add_parser("export", help="export usage by user, model, day, or hour")
    check = actions.add_parser("check", help="check that the dashboard's totals match the ledger")
    recompute = actions.add_parser(
        "recompute", help="compute the cost of each ledger row again from its stored price"
    )
    whole = "the ledger's first"
    for each, since in ((export, "30 days ago"), (check, whole), (recompute, whole)):
        each.add_argument(
            "--from",
            dest="first",
            type=day,
            metavar="DAY",
            help=f"the first day (default: {since})",
        )
        each.add_argument(
            "--to", dest="last", type=day, metavar="DAY", help="the last day (default: today)"
        )
    export.add_argument(
        "--by", choices=get_args(By), default="day", help="what each row stands for (default: day)"
    )
    export.add_argument("--format", choices=get_args(Format), default="csv", help="default: csv")
    export.add_argument("--output", type=Path, help="write to this file (default: the screen)")
    for each in (check, recompute):
        each.add_argument("--json", action="store_true", help="print JSON")
    recompute.epilog = (
        "Exits with 1 if any row differs. Rows from before prices were stored count as unknown if "
        "part of their prompt was cached."
    )
    export.epilog = "Days are in UTC, like 2026-11-30, and inclusive. Amounts are in USD."
    check.epilog = "Exits with 1 if anything differs. Reads every ledger row in the range."


def execute(arguments: argparse.Namespace) -> int:
    act = _export if arguments.action == "export" else _check
    output: Path | None = getattr(arguments, "output", None)
    try:
        if arguments.action == "recompute":
            return acted(
                lambda services: _recompute(services, arguments, operator()),
                as_json=arguments.json,
            )
        if output is None:
            return _acted(act, arguments, sys.stdout)
        # Keep an existing file until the new one is complete.
        part = output.with_name(f"{output.name}.part")
        try:
            with part.open("w", encoding="utf-8", newline="") as file:
                code = _acted(act, arguments, file)
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
    except ValueError as error:
        complain(str(error))
        return USAGE
    return code


_Act = Callable[[UsageReports, argparse.Namespace, str, TextIO], Awaitable[int]]


def _acted(act: _Act, arguments: argparse.Namespace, to: TextIO) -> int:
    return acted(
        lambda services: act(services.usage_reports, arguments, operator(), to),
        # A refusal must not end up in the output file.
        as_json=False,
    )


async def _export(
    reports: UsageReports, arguments: argparse.Namespace, reader: str, to: TextIO
) -> int:
    last = arguments.last or await reports.today(reader)
    span = Span(arguments.first or last - timedelta(days=LATELY_DAYS - 1), last)
    rows = reports.rows(reader, span, by=arguments.by)
    text = json_text(rows) if arguments.format == "json" else csv_text(rows, arguments.by)
    await _write(text, to)
    return 0


async def _write(text: AsyncIterator[str], to: TextIO) -> None:
    async for part in text:
        to.write(part)
    to.flush()


async def _check(
    reports: UsageReports, arguments: argparse.Namespace, reader: str, to: TextIO
) -> int:
    last = arguments.last or await reports.today(reader)
    span = Span(arguments.first or await reports.first_day(reader) or last, last)
    found: list[Difference] = []
    async with aclosing(reports.compare(reader, span)) as differences:
        async for each in differences:
            found.append(each)
            if len(found) == SHOWN:
                break
    if arguments.json:
        listed = [
            {"table": d.table, "row": d.row, "ledger": d.ledger, "sums": d.sums} for d in found
        ]
        days = {"from": str(span.first), "to": str(span.last)}
        to.write(json.dumps({**days, "differences": listed}) + "\n")
        return 1 if found else 0
    for each in found:
        to.write(f"{each.table} {each.row}: ledger {each.ledger}; sums {each.sums}\n")
    what = (
        "the sums differ from the ledger" if found else "the sums are the ledger, to the last digit"
    )
    to.write(f"{span.first} to {span.last}: {what}.\n")
    return 1 if found else 0


async def _recompute(services: Services, arguments: argparse.Namespace, reader: str) -> int:
    reports = services.usage_reports
    last = arguments.last or await reports.today(reader)
    span = Span(arguments.first or await reports.first_day(reader) or last, last)
    counts, differing = Counter[str](), list[Receipt]()
    async with aclosing(services.prices.receipts(reader, span.first, span.last)) as receipts:
        async for each in receipts:
            counts[each.state] += 1
            if each.state == "differs" and len(differing) < SHOWN:
                differing.append(each)
    if arguments.json:
        listed = [_receipt(each) for each in differing]
        states = {state: counts[state] for state in ("same", "differs", "unknown")}
        say(
            json.dumps(
                {"from": str(span.first), "to": str(span.last), **states, "differences": listed}
            )
        )
        return 1 if differing else 0
    for each in differing:
        say(
            f"{each.line.id} {each.line.model}: ${each.line.cost_usd} and "
            f"{each.line.quota_tokens} quota tokens; computed ${each.computed_usd} and "
            f"{each.computed_quota_tokens}"
        )
    say(
        f"{span.first} to {span.last}: {counts['same']:,} the same, {counts['differs']:,} different, "
        f"{counts['unknown']:,} without a stored price."
    )
    return 1 if differing else 0


def _receipt(receipt: Receipt) -> dict[str, object]:
    line, usd = receipt.line, receipt.computed_usd
    return {
        "row": str(line.id),
        "model": line.model,
        "price_version": line.price_version,
        "cost_usd": str(line.cost_usd),
        "computed_usd": None if usd is None else str(usd),
        "quota_tokens": line.quota_tokens,
        "computed_quota_tokens": receipt.computed_quota_tokens,
    }


def day(text: str) -> date:
    return date.fromisoformat(text)
