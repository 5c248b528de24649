"""One user's page."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import routes
from aisaas.ui.admin import shell
from aisaas.ui.admin.user import components
from aisaas.ui.admin.user.state import OneUser


def page() -> rx.Component:
    return shell.frame(
        OneUser.user.email,
        components.account(),
        components.limits(),
        components.figures(),
        components.by_day(),
        components.subscriptions(),
        components.refused(),
        components.failed(),
        components.sessions(),
        components.credits_given(),
        components.mails(),
        components.done(),
        at=routes.ADMIN_USERS,
        of=OneUser,
    )
