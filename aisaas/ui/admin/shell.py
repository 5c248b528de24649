"""What the pages for admins share: the frame around them, and who may see them.

Hiding a link protects nothing. Each handler calls `admin_of`, which reads the role again, and the domain
checks it once more: a revoked role is gone with the next click. For a user who isn't an admin every
page of the area looks like "not found".
"""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.accounts.admin_access import require_admin
from aisaas.accounts.models import Principal
from aisaas.ui import layout, not_found, notices, routes
from aisaas.ui.session import caller_of, principal_of, show_account

# In the order of the pages' tabs; a page that isn't there has none.
AREAS = (
    ("Usage", routes.ADMIN),
    ("Users", routes.ADMIN_USERS),
    ("Controls", routes.ADMIN_CONTROLS),
    ("Providers", routes.ADMIN_PROVIDERS),
    ("Billing", routes.ADMIN_MONEY),
    ("Audit log", routes.ADMIN_AUDIT),
)


class Area(rx.State):
    """What the pages of the area have in common in one tab."""

    # Whether this user sees "not found".
    nowhere: bool = False
    # Counts finished actions, so that the dialog knows its action is done; and the message.
    acted: int = 0
    said: str = ""


async def admin_of(state: rx.State) -> Principal:
    """The user making the request. For anyone but an admin the page turns into "not found".

    Raises:
        Unauthenticated: the user isn't signed in.
        NotFound: the user isn't an admin.
    """
    principal = await principal_of(state)
    await _check(state, principal)
    return principal


async def entered(state: rx.State) -> Principal:
    """The same for a handler that loads a page; also clears old notices and shows their account."""
    caller = await caller_of(state)
    await _check(state, caller)
    await show_account(state, caller)
    await notices.clear(state)
    (await state.get_state(Area)).said = ""
    return caller


async def _check(state: rx.State, principal: Principal) -> None:
    area = await state.get_state(Area)
    area.nowhere = not principal.is_admin
    require_admin(principal)


async def done(state: rx.State, said: str) -> None:
    """An action is done: its dialog closes, an earlier refusal is cleared, and `said` is shown and
    announced."""
    await notices.clear(state)
    area = await state.get_state(Area)
    area.acted += 1
    area.said = said


def frame(
    title: rx.Var[str] | str,
    *content: rx.Component,
    at: str,
    of: type[rx.State],
) -> rx.Component:
    """A page of the area under the tab whose address is `at`, shown once the var `ready` of its
    state is set."""
    return rx.cond(
        Area.nowhere,
        not_found.page(),
        _page(title, *content, at=at, of=of),
    )


def _page(
    title: rx.Var[str] | str,
    *content: rx.Component,
    at: str,
    of: type[rx.State],
) -> rx.Component:
    return layout.gate(
        rx.el.div(
            layout.app_bar(routes.ADMIN),
            layout.main(
                rx.el.nav(
                    *(_area(name, address, here=address == at) for name, address in AREAS),
                    class_name="areas",
                    aria_label="Administration",
                ),
                rx.el.h1(title),
                rx.el.div(
                    layout.refusal(),
                    rx.el.div(
                        rx.cond(Area.said, rx.el.p(Area.said, class_name="note", key=Area.acted)),
                        role="status",
                        class_name="said",
                    ),
                    class_name="page-notices",
                ),
                *content,
                class_name="dashboard-main",
            ),
            class_name="page",
        ),
        layout.skeleton(rx.cond(title, title, "Admin"), routes.ADMIN),
        of=of,
    )


def _area(name: str, address: str, *, here: bool) -> rx.Component:
    current = {"aria-current": "page"} if here else {}
    return rx.el.a(name, href=address, class_name="area", custom_attrs=current)
