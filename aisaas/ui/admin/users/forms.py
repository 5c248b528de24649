"""What a browser asks the list for, checked. Any client can send anything."""

from __future__ import annotations

import dataclasses

from aisaas.accounts.people_models import SORTS, Search, Sort
from aisaas.errors import ActionInvalid
from aisaas.ui.admin.users.view import PLANS, STANDINGS
from aisaas.ui.admin.view import OrderView

# What reads better from its beginning.
RISING: frozenset[Sort] = frozenset({"email", "plan"})


def key(value: object, options: tuple[tuple[str, str], ...]) -> str:
    for each, _ in options:
        if value == each:
            return each
    raise ActionInvalid("That option doesn't exist.")


def order(value: object, now: OrderView) -> OrderView:
    """By that column; if it is sorted by it already, the other way round."""
    for each in SORTS:
        if value == each:
            return OrderView(each, down=not now.down if each == now.key else each not in RISING)
    raise ActionInvalid("That option doesn't exist.")


def plan(value: object) -> str:
    return key(value, PLANS)


def standing(value: object) -> str:
    return key(value, STANDINGS)


def search(text: str, plan: str, standing: str, order: OrderView, page: int) -> Search:
    """Whom to look for. All but the text are keys that were checked."""
    wanted = Search(text, plan=plan or None, sort=_sort(order), down=order.down, page=page)
    match standing:
        case "owing":
            return dataclasses.replace(wanted, status="past_due")
        case "suspended":
            return dataclasses.replace(wanted, suspended=True)
        case "admins":
            return dataclasses.replace(wanted, role="admin")
        case _:
            return wanted


def _sort(order: OrderView) -> Sort:
    return next(key for key in SORTS if key == order.key)
