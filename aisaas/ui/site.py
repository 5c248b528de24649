"""What a page knows without asking: of this install (`api.site`), and from its own address.

Vars, whose values the browser has; `site.js` says how they come about.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import dataclasses
from typing import Any

import reflex as rx
from reflex_base.vars import VarData

LIBRARY = "$/components/own/site.js"


def browser_var(expression: str, kind: Any, *hooks: tuple[str, str, str]) -> Any:
    """A var that hooks of ours give its value.

    Args:
        expression: of what the hooks have named.
        kind: the value's type.
        hooks: the line that calls each, its name, and the module that has it.
    """
    imports: dict[str, list[str]] = {}
    for _, name, library in hooks:
        imports.setdefault(library, []).append(name)
    data = VarData(hooks={line: None for line, _, _ in hooks}, imports=imports)  # pyright: ignore[reportArgumentType]
    return rx.Var(f"({expression})", _var_data=data).to(kind)


@dataclasses.dataclass(frozen=True)
class Provider:
    name: str
    label: str


@dataclasses.dataclass(frozen=True)
class PlanOnSale:
    """Amounts are text. Only a plan that costs something has a price of what goes beyond it."""

    label: str
    price: str
    tokens: str
    overage: str
    trial_days: int
    trial_tokens: str
    recommended: bool


@dataclasses.dataclass(frozen=True)
class Site:
    sign_up_mode: str
    providers: list[Provider]
    mailbox_url: str
    terms_url: str
    privacy_url: str
    contact_email: str
    plans: list[PlanOnSale]


@dataclasses.dataclass(frozen=True)
class Problem:
    code: str
    message: str


@dataclasses.dataclass(frozen=True)
class Address:
    """`target` is where to go on, and `onward` the query that says so to another page."""

    problem: Problem
    notice: str
    target: str
    onward: str
    chooses: bool


SITE_HOOK = ("const site = useSite()", "useSite", LIBRARY)
ADDRESS_HOOK = ("const address = useAddress()", "useAddress", LIBRARY)

site: Any = browser_var("site", Site, SITE_HOOK)
address: Any = browser_var("address", Address, ADDRESS_HOOK)
# Whether this is what was built for everybody, before scripts run: the stylesheet chooses from it.
built: Any = browser_var("built", bool, ("const built = useBuilt()", "useBuilt", LIBRARY))
