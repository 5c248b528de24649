"""Whether usage reaches the payment provider, and its events reach us."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import routes
from aisaas.ui.admin import shell
from aisaas.ui.admin.money import components, plans_components
from aisaas.ui.admin.money.failed import failed
from aisaas.ui.admin.money.losses import losses
from aisaas.ui.admin.money.state import Money


def page() -> rx.Component:
    return shell.frame(
        "Billing",
        components.stripe_not_configured(),
        components.outbox(),
        components.webhooks(),
        components.days(),
        plans_components.plans(),
        losses(),
        failed(),
        at=routes.ADMIN_MONEY,
        of=Money,
    )
