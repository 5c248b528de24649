"""The audit log."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import routes
from aisaas.ui.admin import shell
from aisaas.ui.admin.audit import components
from aisaas.ui.admin.audit.state import Audit


def page() -> rx.Component:
    return shell.frame("Audit log", components.entries(), at=routes.ADMIN_AUDIT, of=Audit)
