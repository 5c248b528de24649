"""`admin`: lists, grants, and revokes the admin role."""

from __future__ import annotations

import argparse
import json
from typing import Any

from aisaas.accounts.people_models import AccountSummary, Role
from aisaas.cli.operate.operator import DONE, FAILED, acted, added, agreed, operator
from aisaas.cli.screen import say
from aisaas.wiring import Services


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    grant = added(actions, "grant", "make a user an admin")
    grant.epilog = (
        "Admins can see every account and its usage (but never what a user wrote), suspend accounts, set "
        "limits and roles, and stop calls. Takes effect with their next click."
    )
    revoke = added(actions, "revoke", "remove the admin role from a user")
    revoke.epilog = "Takes effect with their next click. The last active admin can't be revoked."
    for each in (grant, revoke):
        each.add_argument("whom", metavar="email|id", help="the account")
        each.add_argument("--reason", required=True, help="saved in the audit log")
        each.add_argument("--yes", action="store_true", help="don't ask for confirmation")
        each.add_argument("--json", action="store_true", help="print JSON")
    listed = added(actions, "list", "list all admins, including suspended ones")
    listed.add_argument("--json", action="store_true", help="print JSON")


def execute(arguments: argparse.Namespace) -> int:
    if arguments.action != "list":
        to = "an admin" if arguments.action == "grant" else "an admin no longer"
        if not agreed(f"Make {arguments.whom} {to}?", yes=arguments.yes):
            return FAILED
    act = _list if arguments.action == "list" else _set
    return acted(lambda services: act(services, arguments), as_json=arguments.json)


async def _list(services: Services, arguments: argparse.Namespace) -> int:
    found = await services.users.admins(operator())
    if arguments.json:
        say(json.dumps([_to_dict(each) for each in found], indent=2))
        return DONE
    for each in found:
        suspended = "  suspended" if each.suspended_at else ""
        say(f"{each.email}  {each.id}  since {each.created_at:%Y-%m-%d}{suspended}")
    if not found:
        say("No admins. Add one: python -m aisaas admin grant EMAIL --reason …")
    return DONE


async def _set(services: Services, arguments: argparse.Namespace) -> int:
    role: Role = "admin" if arguments.action == "grant" else "user"
    users, actor = services.users, operator()
    user_id = await users.named(actor, arguments.whom)
    changed = await users.set_role(actor, user_id, role, reason=arguments.reason)
    if arguments.json:
        say(json.dumps({"user_id": str(user_id), "role": role, "changed": changed}))
    elif role == "admin":
        say(
            f"{arguments.whom} is an admin now."
            if changed
            else f"{arguments.whom} was one already."
        )
    else:
        say(
            f"{arguments.whom} is no longer an admin."
            if changed
            else f"{arguments.whom} isn't an admin."
        )
    return DONE


def _to_dict(admin: AccountSummary) -> dict[str, Any]:
    return {
        "user_id": str(admin.id),
        "email": admin.email,
        "full_name": admin.full_name,
        "suspended": admin.suspended_at is not None,
    }
