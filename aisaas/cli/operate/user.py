"""`user show`: everything an admin sees of one user. Never what they wrote."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from aisaas.admin.users_models import OneUser
from aisaas.billing.subscriptions.user_reports import HeldSubscription
from aisaas.cli.operate.operator import DONE, acted, added, operator
from aisaas.cli.screen import say
from aisaas.formats import usd
from aisaas.wiring import Services

NOTHING = "–"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    show = added(
        actions, "show", "show plan, usage, billing, refusals, sessions, and failed replies"
    )
    show.add_argument("whom", metavar="email|id", help="the account")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.epilog = "Never shows what the user wrote. To act on an account, use /admin/users."


def execute(arguments: argparse.Namespace) -> int:
    return acted(lambda services: _show(services, arguments), as_json=arguments.json)


async def _show(services: Services, arguments: argparse.Namespace) -> int:
    user_id = await services.users.named(operator(), arguments.whom)
    found = await services.users.look(operator(), user_id)
    if arguments.json:
        say(json.dumps(_facts(found), indent=2, default=_plain))
    else:
        say("\n".join(_lines(found)))
    return DONE


def _facts(found: OneUser) -> dict[str, Any]:
    """As JSON; amounts of money are decimal strings, times ISO 8601."""
    money = asdict(found.money)
    return asdict(found) | {
        "plan": found.plan.id,
        "allowance": asdict(found.allowance) | {"left": found.allowance.left},
        "money": money | {"paid_usd": found.money.paid_usd, "margin_usd": found.money.margin_usd},
    }


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _lines(found: OneUser) -> list[str]:
    who, allowance, money = found.standing, found.allowance, found.money
    named = f"{who.email} ({who.full_name})" if who.full_name else who.email
    status = f"{found.plan.label}, {who.subscription_status}"
    suspended = f"since {_at(who.suspended_at)}: {who.suspended_reason}"
    requests = sum(day.requests for day in found.days)
    tokens = sum(day.quota_tokens for day in found.days)
    return [
        named,
        f"  id            {who.id}",
        f"  role          {who.role}, here since {_at(who.created_at)}",
        f"  plan          {status}",
        f"  suspended     {suspended if who.suspended_at else 'no'}",
        f"  allowance     {allowance.used:,} of {allowance.limit:,} tokens used, "
        f"{allowance.left:,} left until {_at(allowance.period_end)}",
        f"  30 days       {requests:,} requests, {tokens:,} tokens",
        f"  this period   paid ${money.paid_usd:,.2f}, cost ${money.cost_usd:,.4f}, "
        f"margin ${money.margin_usd:,.4f}{', owed' if money.owed else ''}",
        f"  Stripe        {found.customer_page or NOTHING}",
        *_part(
            "Refused",
            [f"{_at(each.minute)}  {each.code}  {each.times} times" for each in found.refused],
        ),
        *_part(
            "Sessions",
            [f"{each.device}, last seen {_at(each.last_seen_at)}" for each in found.sessions],
        ),
        *_part(
            "Subscriptions",
            [_subscription(each) for each in found.subscriptions],
        ),
        *_part(
            "Failed replies",
            [
                f"{_at(each.at)}  {each.model}  {each.status}  {each.code or NOTHING}"
                for each in found.failed
            ],
        ),
        *_part(
            "Credits",
            [
                f"{_at(each.created_at)}  {each.spent:,} of {each.tokens:,} used  {each.reason}"
                for each in found.credits
            ],
        ),
        *_part(
            "Admin actions",
            [f"{_at(each.at)}  {each.action}  {each.actor}  {each.reason}" for each in found.done],
        ),
    ]


def _subscription(each: HeldSubscription) -> str:
    lost = f"  {usd(each.written_off_usd)} written off" if each.written_off_usd else ""
    return f"{each.id}  {each.plan}  {each.status}  {each.page}{lost}"


def _part(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines or ["none"])]


def _at(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else NOTHING
