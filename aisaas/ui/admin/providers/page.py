"""How the model providers do."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import routes
from aisaas.ui.admin import shell
from aisaas.ui.admin.providers import components
from aisaas.ui.admin.providers.state import ProviderStatuses


def page() -> rx.Component:
    return shell.frame(
        "Providers",
        components.span(),
        components.providers(),
        components.models(),
        components.errors(),
        at=routes.ADMIN_PROVIDERS,
        of=ProviderStatuses,
    )
