"""The list of users."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import routes
from aisaas.ui.admin import shell
from aisaas.ui.admin.users import components
from aisaas.ui.admin.users.state import Users


def page() -> rx.Component:
    return shell.frame("Users", components.users(), at=routes.ADMIN_USERS, of=Users)
