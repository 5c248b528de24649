"""The app: its pages, its routes, its life. No logic."""

from __future__ import annotations

import reflex as rx
from starlette.applications import Starlette

from aisaas.api.app import api_routes
from aisaas.api.request_ids import RequestIds
from aisaas.api.security_headers import SecurityHeaders
from aisaas.api.sign_in_first import SignInFirst
from aisaas.jobs.lifespan import lifespan
from aisaas.ui import (
    landing,
    leaving,
    not_found,
    notices,
    reflex_patches,
    routes,
    strangers,
    suspended,
    theme,
)
from aisaas.ui.account import page as account
from aisaas.ui.account.state import Recovery
from aisaas.ui.admin.audit import page as audit
from aisaas.ui.admin.audit.state import Audit
from aisaas.ui.admin.money import page as money
from aisaas.ui.admin.money.state import Money
from aisaas.ui.admin.steering import page as steering
from aisaas.ui.admin.steering.state import Steering
from aisaas.ui.admin.usage import page as all_usage
from aisaas.ui.admin.usage.state import Usage
from aisaas.ui.admin.user import page as user
from aisaas.ui.admin.user.state import OneUser
from aisaas.ui.admin.users import page as users
from aisaas.ui.admin.users.state import Users
from aisaas.ui.billing import page as billing
from aisaas.ui.billing.state import Billing
from aisaas.ui.chat import page as chat
from aisaas.ui.chat.state import Chat
from aisaas.ui.dashboard import page as dashboard
from aisaas.ui.dashboard.state import Dashboard
from aisaas.ui.profile import page as profile
from aisaas.ui.profile.state import Profile
from aisaas.ui.session import OwnerOnly, Session
from aisaas.ui.settings import APP_NAME, foreign_origins

reflex_patches.allow_foreign_origins(foreign_origins)
# Reflex calls each transformer with the app so far: headers go around everything, and the routes
# are found before the pages.
app = rx.App(
    head_components=theme.HEAD,
    html_lang="en",
    reset_style=False,
    toaster=None,
    app_wraps={},
    backend_exception_handler=notices.unexpected,
    api_transformer=[
        Starlette(routes=api_routes()),
        SignInFirst,
        SecurityHeaders,
        leaving.Leaving,
        RequestIds,
    ],
)
reflex_patches.keep_states(app)
app.add_middleware(OwnerOnly(), index=0)
app.register_lifespan_task(lifespan)
app.register_lifespan_task(leaving.let_tabs_go)
app.register_lifespan_task(strangers.close_quiet_connections)

PAGES = (
    (routes.HOME, landing.page, APP_NAME, None),
    (routes.LOGIN, account.login, f"Sign in · {APP_NAME}", Session.leave_if_signed_in),
    (
        routes.SIGNUP,
        account.signup,
        f"Create your account · {APP_NAME}",
        Session.leave_if_signed_in,
    ),
    (routes.RESET, account.reset, f"Reset your password · {APP_NAME}", Recovery.look),
    (routes.CONFIRM, account.confirm, f"Confirm · {APP_NAME}", None),
    (routes.CHAT_ROUTE, chat.page, f"Chat · {APP_NAME}", Chat.load),
    (routes.DASHBOARD, dashboard.page, f"Usage · {APP_NAME}", Dashboard.load),
    (routes.BILLING, billing.page, f"Billing · {APP_NAME}", Billing.load),
    (routes.SETTINGS, profile.page, f"Settings · {APP_NAME}", Profile.load),
    (
        routes.SUSPENDED,
        suspended.page,
        f"Account suspended · {APP_NAME}",
        Session.leave_unless_suspended,
    ),
    (routes.ADMIN, all_usage.page, f"Usage · Admin · {APP_NAME}", Usage.load),
    (routes.ADMIN_USERS, users.page, f"Users · Admin · {APP_NAME}", Users.load),
    (routes.ADMIN_USER_ROUTE, user.page, f"User · Admin · {APP_NAME}", OneUser.load),
    (routes.ADMIN_STEERING, steering.page, f"Controls · Admin · {APP_NAME}", Steering.load),
    (routes.ADMIN_MONEY, money.page, f"Billing · Admin · {APP_NAME}", Money.load),
    (routes.ADMIN_AUDIT, audit.page, f"Audit log · Admin · {APP_NAME}", Audit.load),
    ("/404", not_found.page, f"Not found · {APP_NAME}", None),
)
for route, page, title, on_load in PAGES:
    app.add_page(page, route=route, title=title, on_load=on_load)
