"""The plan, what it costs, and how it is paid."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import reflex as rx

from aisaas.ui import layout, routes
from aisaas.ui.billing import components
from aisaas.ui.billing.state import Billing


def page() -> rx.Component:
    return layout.gate(
        rx.el.div(
            layout.app_bar(routes.BILLING),
            layout.main(
                rx.el.h1("Billing"),
                components.notices(),
                components.plan(),
                components.period(),
                components.cap(),
                components.next_invoice(),
                components.plans(),
                components.invoices(),
                class_name="dashboard-main",
            ),
            class_name="page",
        ),
        layout.skeleton("Billing", routes.BILLING),
        of=Billing,
    )
