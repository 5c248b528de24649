"""`usage export`: what was used, as CSV or JSON. `usage check`: whether the dashboard's sums are the ledger."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import date, timedelta
from pathlib import Path
from typing import TextIO, get_args

from aisaas.admin.usage import UsageReports
from aisaas.admin.usage_export import Format, csv_text, json_text
from aisaas.admin.usage_models import By, Difference, Span
from aisaas.cli.operator import USAGE, acted, operator
from aisaas.cli.screen import complain

LATELY_DAYS = 30
# Differences that are shown; more of them say nothing more.
SHOWN = 50


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    export = actions.add_parser("export", help="export usage by user, model, day, or hour")
    check = actions.add_parser("check", help="check that the dashboard's totals match the ledger")
    for each, since in ((export, "30 days ago"), (check, "the ledger's first")):
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
    check.add_argument("--json", action="store_true", help="print JSON")
    export.epilog = "Days are in UTC, like 2026-11-30, and inclusive. Amounts are in USD."
    check.epilog = "Exits with 1 if anything differs. Reads every ledger row in the range."


def execute(arguments: argparse.Namespace) -> int:
    act = _export if arguments.action == "export" else _check
    output: Path | None = getattr(arguments, "output", None)
    try:
        if output is None:
            return _acted(act, arguments, sys.stdout)
        # What is there stays as it is until the new one is whole.
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
        # What is refused has no place in the file that may be asked for.
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
        told = [{"table": d.table, "row": d.row, "ledger": d.ledger, "sums": d.sums} for d in found]
        days = {"from": str(span.first), "to": str(span.last)}
        to.write(json.dumps({**days, "differences": told}) + "\n")
        return 1 if found else 0
    for each in found:
        to.write(f"{each.table} {each.row}: ledger {each.ledger}; sums {each.sums}\n")
    what = (
        "the sums differ from the ledger" if found else "the sums are the ledger, to the last digit"
    )
    to.write(f"{span.first} to {span.last}: {what}.\n")
    return 1 if found else 0


def day(text: str) -> date:
    return date.fromisoformat(text)
