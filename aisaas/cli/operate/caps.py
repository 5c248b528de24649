"""`caps`: what may be spent a day, by the free tier and in total; changed without a restart."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from aisaas.cli.operate.operator import DONE, acted, operator
from aisaas.cli.screen import say
from aisaas.controls.spending_caps import SCOPES, CapToday
from aisaas.wiring import Services

USAGE = 2
SETTINGS = "settings"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    show = actions.add_parser("show", help="the caps and today's spending (UTC)")
    change = actions.add_parser("set", help="change a cap; applies from the next call")
    change.add_argument("scope", choices=SCOPES)
    change.add_argument(
        "usd",
        type=_usd,
        help=f"USD per day, or {SETTINGS} to use FREE_TIER_DAILY_USD or TOTAL_DAILY_USD again",
    )
    change.add_argument("--reason", required=True, help="saved in the audit log")
    for action in (show, change):
        action.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    return acted(lambda services: _act(services, arguments), as_json=arguments.json)


async def _act(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.action == "set":
        await _set(services, arguments)
    else:
        _show(await services.caps.of_operator(), as_json=arguments.json)
    return DONE


async def _set(services: Services, arguments: argparse.Namespace) -> None:
    changed = await services.caps.set(
        arguments.scope,
        arguments.usd,
        actor=operator(),
        reason=arguments.reason,
    )
    now = next(c for c in await services.caps.of_operator() if c.scope == arguments.scope)
    if arguments.json:
        say(json.dumps({"scope": now.scope, "usd": f"{now.usd:f}", "changed": changed}))
    else:
        say(f"{now.scope}: ${now.usd:,.2f} per day{'' if changed else ' (unchanged)'}.")


def _show(caps: Sequence[CapToday], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps([_to_dict(cap) for cap in caps]))
        return
    for cap in caps:
        by = f"set by {cap.changed_by}" if cap.changed_by else "from the settings"
        refusing = "; refuses calls" if cap.refusing else ""
        say(
            f"{cap.scope}  ${cap.usd:,.2f} per day, {by}; today ${cap.spent_usd:,.2f} spent, "
            f"${cap.reserved_usd:,.2f} held{refusing}"
        )


def _to_dict(cap: CapToday) -> dict[str, object]:
    return {
        "scope": cap.scope,
        "usd": f"{cap.usd:f}",
        "settings_usd": f"{cap.settings_usd:f}",
        "changed_by": cap.changed_by,
        "changed_at": cap.changed_at.isoformat() if cap.changed_at else None,
        "spent_usd": f"{cap.spent_usd:f}",
        "reserved_usd": f"{cap.reserved_usd:f}",
        "refusing": cap.refusing,
    }


def _usd(text: str) -> Decimal | None:
    if text == SETTINGS:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't an amount. Use a format like 12.50."
        ) from None
