"""`reconcile`: compares our usage by day, or users' plans, with Stripe's and corrects what
differs."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator, Mapping
from datetime import date
from uuid import UUID

from aisaas.admin.billing_ops import MoneyHealth
from aisaas.admin.entitlement_differences import Entitlements
from aisaas.admin.reconciliation import ReconciliationAdmin
from aisaas.billing.metering.reconciliation_reports import DayEntry
from aisaas.billing.subscriptions.entitlement_store import DifferenceEntry
from aisaas.cli.operate.operator import DONE, FAILED, USAGE, acted, agreed, operator
from aisaas.cli.screen import complain, say
from aisaas.db.paging import Cursor, Moment
from aisaas.errors import Refusal

AT_ONCE = 100

Shown = Mapping[str, str | int | bool]


def configure(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--day", type=date.fromisoformat, help="a day in UTC; without it, all days that are due"
    )
    what.add_argument(
        "--plans", action="store_true", help="compare plans with Stripe subscriptions instead"
    )
    parser.add_argument("--correct", action="store_true", help="correct the differences")
    parser.add_argument(
        "--reason", default="", help="reason for a correction; saved in the audit log"
    )
    parser.add_argument(
        "--yes", action="store_true", help="correct without asking for confirmation"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.epilog = (
        "Lists the differences. Usage that Stripe can no longer cancel is listed so that you can credit "
        "it by hand. Exits with 1 if a correction was refused."
    )


def execute(arguments: argparse.Namespace) -> int:
    if arguments.correct and not arguments.reason.strip():
        complain("Add a --reason. It's saved in the audit log.")
        return USAGE
    if arguments.correct and not agreed("Correct the differences?", yes=arguments.yes):
        return USAGE
    return acted(lambda services: _reconcile(services.money, arguments), as_json=arguments.json)


async def _reconcile(money: MoneyHealth, arguments: argparse.Namespace) -> int:
    ended, differing = DONE, 0
    found = (
        _plans(money.entitlements, arguments) if arguments.plans else _days(money.ledger, arguments)
    )
    async for shown in found:
        differing += 1
        say(json.dumps(shown) if arguments.json else "  ".join(map(str, shown.values())))
        if "refused" in shown:
            ended = FAILED
    if not differing and not arguments.json:
        say("No differences.")
    return ended


async def _days(ledger: ReconciliationAdmin, arguments: argparse.Namespace) -> AsyncIterator[Shown]:
    if arguments.day:
        await ledger.compare_day(operator(), arguments.day)
    else:
        await ledger.compare_due(operator())
    async for each in _open_days(ledger, arguments.day):
        shown: Shown = {
            "customer": each.customer,
            "day": str(each.day),
            "meter": each.meter_name,
            "drift": each.drift - each.settled,
        }
        if arguments.correct:
            try:
                done = await ledger.correct(
                    operator(), each.customer, each.day, reason=arguments.reason
                )
                shown = {**shown, "remedy": done.remedy, "late": done.late}
            except Refusal as refusal:
                shown = {**shown, "refused": refusal.sentence}
        yield shown


async def _plans(entitlements: Entitlements, arguments: argparse.Namespace) -> AsyncIterator[Shown]:
    after: UUID | None = None
    while True:
        compared = await entitlements.compare(operator(), after=after)
        if compared.next is None:
            break
        after = compared.next
    async for each in _open_plans(entitlements):
        shown: Shown = {"email": each.email, "plan": each.ours.plan, "follows": each.theirs.plan}
        if each.note:
            shown = {**shown, "note": each.note}
        if arguments.correct:
            try:
                done = await entitlements.correct(operator(), each.user_id, reason=arguments.reason)
                shown = {**shown, "corrected": done.after.plan}
            except Refusal as refusal:
                shown = {**shown, "refused": refusal.sentence}
        yield shown


async def _open_days(ledger: ReconciliationAdmin, only: date | None) -> AsyncIterator[DayEntry]:
    """Customers' days that differ, the newest first; of one day, or of all."""
    # A place before every customer of that day.
    before = Cursor(only, "") if only else None
    while True:
        page = await ledger.page(operator(), before=before, limit=AT_ONCE)
        for each in page.found:
            if only is not None and each.day < only:
                return
            yield each
        if not page.older:
            return
        before = page.end


async def _open_plans(entitlements: Entitlements) -> AsyncIterator[DifferenceEntry]:
    """Users whose plan differs, those found last first."""
    before: Moment | None = None
    while True:
        page = await entitlements.page(operator(), before=before, limit=AT_ONCE)
        for each in page.found:
            yield each
        if not page.older:
            return
        before = page.end
