"""Caps, the kill switch and the models."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import routes
from aisaas.ui.admin import shell
from aisaas.ui.admin.controls import components
from aisaas.ui.admin.controls.state import Controls


def page() -> rx.Component:
    return shell.frame(
        "Controls",
        components.caps(),
        components.switches(),
        components.models(),
        components.found_models(),
        at=routes.ADMIN_CONTROLS,
        of=Controls,
    )
