"""`credits grant`: gives a user tokens beyond what their plan includes."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from aisaas.cli.operate.operator import DONE, FAILED, acted, agreed, operator
from aisaas.cli.screen import say
from aisaas.errors import ActionInvalid
from aisaas.wiring import Services


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("grant",))
    parser.add_argument("email", help="the account")
    parser.add_argument("tokens", type=int, help="quota tokens")
    parser.add_argument("--reason", required=True, help="saved in the ledger and the audit log")
    parser.add_argument("--expires", type=_end_of_day, help="the last day (UTC), like 2027-01-31")
    parser.add_argument("--yes", action="store_true", help="don't ask for confirmation")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "Credits are used after the included tokens and before overage, and are never billed. A grant "
        "can't be taken back."
    )


def execute(arguments: argparse.Namespace) -> int:
    asked = f"Grant {arguments.email} {arguments.tokens:,} quota tokens? You can't take them back."
    if not agreed(asked, yes=arguments.yes):
        return FAILED
    return acted(lambda services: _grant(services, arguments), as_json=arguments.json)


async def _grant(services: Services, arguments: argparse.Namespace) -> int:
    try:
        grant_id = await services.credits.grant(
            await services.credits.user_by_email(arguments.email),
            arguments.tokens,
            actor=operator(),
            reason=arguments.reason,
            expires_at=arguments.expires,
        )
    except ValueError as error:
        raise ActionInvalid(f"Not granted: {error}.") from error
    if arguments.json:
        say(json.dumps({"grant": str(grant_id), "tokens": arguments.tokens}))
    else:
        say(f"Granted {arguments.tokens:,} quota tokens to {arguments.email}.")
    return DONE


def _end_of_day(text: str) -> datetime:
    day = datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007  # the zone comes below
    return day.replace(hour=23, minute=59, second=59, tzinfo=UTC)
