"""What the pages for admins share: the frame around them, and who may see them.

Hidden links are manners. Each handler asks `admin_of`, which reads the role anew, and the domain asks
again: a role that is taken away is gone with the next click.
"""

from __future__ import annotations

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.admin.access import require_admin
from aisaas.ui import layout, routes
from aisaas.ui.session import principal_of

AREAS = (("Audit log", routes.ADMIN_AUDIT),)


async def admin_of(state: rx.State) -> Principal:
    """Who is asking.

    Raises:
        Unauthenticated: nobody.
        NotFound: somebody who is no admin.
    """
    principal = await principal_of(state)
    require_admin(principal)
    return principal


def frame(title: str, *content: rx.Component, at: str, of: type[rx.State]) -> rx.Component:
    """A page of the area whose address is `at`, shown once the var `ready` of its state is set."""
    return layout.gate(
        rx.el.div(
            layout.app_bar(),
            rx.el.main(
                rx.el.nav(
                    *(_area(name, address, here=address == at) for name, address in AREAS),
                    class_name="areas",
                    aria_label="Administration",
                ),
                rx.el.h1(title),
                layout.refusal(),
                *content,
                id="content",
                class_name="dashboard-main",
            ),
            class_name="page",
        ),
        layout.skeleton(),
        of=of,
    )


def _area(name: str, address: str, *, here: bool) -> rx.Component:
    current = {"aria-current": "page"} if here else {}
    return rx.el.a(name, href=address, class_name="area", custom_attrs=current)


def search_box(label: str, event: rx.event.EventCallback[dict[str, str]]) -> rx.Component:
    """A form with one field, `search`; asked by Enter or its button."""
    return rx.el.form(
        rx.el.input(
            name="search",
            type="search",
            placeholder=label,
            aria_label=label,
            max_length=200,
        ),
        rx.el.button("Search", type="submit", class_name="button"),
        on_submit=event,
        class_name="search-box",
        role="search",
    )
