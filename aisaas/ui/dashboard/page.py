"""What you used, and when it renews."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes
from aisaas.ui.dashboard import components
from aisaas.ui.dashboard.state import Dashboard


def page() -> rx.Component:
    return layout.gate(
        rx.el.div(
            layout.app_bar(routes.DASHBOARD),
            layout.main(
                rx.el.h1("Usage"),
                layout.refusal(),
                components.allowance(),
                components.by_model(),
                components.by_day(),
                components.receipts(),
                components.refused(),
                class_name="dashboard-main",
            ),
            class_name="page",
        ),
        layout.skeleton("Usage", routes.DASHBOARD),
        of=Dashboard,
    )
