"""The settings of one's own account."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes
from aisaas.ui.profile import components


def page() -> rx.Component:
    return layout.gate(
        rx.el.div(
            layout.app_bar(routes.SETTINGS),
            layout.main(
                rx.el.h1("Settings"),
                layout.refusal(),
                components.profile(),
                components.address(),
                components.password(),
                components.sessions(),
                components.data(),
                components.colours(),
                class_name="settings-main",
            ),
            class_name="page",
        ),
        layout.skeleton("Settings", routes.SETTINGS, "settings-main"),
    )
