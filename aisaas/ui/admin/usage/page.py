"""What all users use, what it costs and what it brings in."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import routes
from aisaas.ui.admin import shell
from aisaas.ui.admin.usage import components
from aisaas.ui.admin.usage.state import Usage


def page() -> rx.Component:
    return shell.frame(
        "Usage",
        components.now(),
        components.span(),
        components.figures(),
        components.over_time(),
        components.shares(),
        components.refusals(),
        components.errors(),
        components.users(),
        at=routes.ADMIN,
        of=Usage,
    )
