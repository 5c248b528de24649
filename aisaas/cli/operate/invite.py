"""`invite`: emails an invitation to create an account, through the auth server's admin API."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from aisaas.accounts.addresses import ascii_address
from aisaas.accounts.ports import AuthUser
from aisaas.cli.environment import adopt, running
from aisaas.cli.screen import complain, say
from aisaas.errors import AuthError, DependencyError
from aisaas.settings import load
from aisaas.wiring import build

USAGE = 2


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("email", help="the address to invite")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "Works with any SIGN_UP_MODE. The person you invite chooses a password by opening the link. If they "
        "haven't yet, inviting them again mails a new link."
    )


def execute(arguments: argparse.Namespace) -> int:
    try:
        email = ascii_address(arguments.email)
    except ValueError:
        sentence = f"{arguments.email!r} isn't an email address."
        return _failed(arguments.json, "email_invalid", sentence, USAGE)
    adopt(running())
    try:
        user = asyncio.run(_invite(email))
    except AuthError as error:
        return _failed(arguments.json, error.code, error.sentence, 1)
    except DependencyError:
        sentence = "The sign-in server isn't responding. For details, run `python -m aisaas check`."
        return _failed(arguments.json, "unavailable", sentence, 1)
    if arguments.json:
        say(json.dumps({"invited": user.email, "user_id": str(user.id)}))
    else:
        say(f"Invited {user.email}.")
    return 0


async def _invite(email: str) -> AuthUser:
    services = build(load())
    try:
        return await services.accounts.invite(
            email, redirect_to=f"{services.settings.url}/reset?choose=1"
        )
    finally:
        await services.close()


def _failed(as_json: bool, code: str, sentence: str, exit_code: int) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"code": code, "message": sentence}) + "\n")
    else:
        complain(sentence)
    return exit_code
