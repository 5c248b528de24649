"""The settings of one's own account."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout
from aisaas.ui.profile import components


def page() -> rx.Component:
    return layout.gate(
        rx.el.div(
            layout.app_bar(),
            rx.el.main(
                rx.el.h1("Settings"),
                components.refusal(),
                components.profile(),
                components.address(),
                components.password(),
                components.sessions(),
                components.colours(),
                id="content",
                class_name="settings-main",
            ),
            class_name="page",
        ),
        components.skeleton(),
    )
