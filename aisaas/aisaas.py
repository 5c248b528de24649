"""The app: its pages, its routes, its life. No logic."""

from __future__ import annotations

from functools import partial

import reflex as rx

from aisaas.api.app import api_routes
from aisaas.api.pages import Pages
from aisaas.api.request_ids import RequestIds
from aisaas.api.security_headers import SecurityHeaders
from aisaas.api.serving import serving
from aisaas.api.sign_in_first import SignInFirst
from aisaas.jobs.lifespan import lifespan
from aisaas.ui import (
    connection_draining,
    landing,
    not_found,
    notices,
    routes,
    strangers,
    suspended,
    theme,
)
from aisaas.ui.account import page as account
from aisaas.ui.account.state import Recovery
from aisaas.ui.admin.audit import page as audit
from aisaas.ui.admin.audit.state import Audit
from aisaas.ui.admin.controls import page as controls
from aisaas.ui.admin.controls.state import Controls
from aisaas.ui.admin.money import page as money
from aisaas.ui.admin.money.state import Money
from aisaas.ui.admin.providers import page as providers
from aisaas.ui.admin.providers.state import ProviderStatuses
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
from aisaas.ui.reflex_patches import server
from aisaas.ui.session import OwnerOnly, Session
from aisaas.ui.settings import APP_NAME, foreign_origins
from aisaas.wiring import services

server.allow_foreign_origins(foreign_origins)
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
        serving(api_routes(), services),
        partial(Pages, services=services),
        partial(SignInFirst, services=services),
        SecurityHeaders,
        partial(connection_draining.ConnectionDraining, services=services),
        RequestIds,
    ],
)
server.keep_states(app)
app.add_middleware(OwnerOnly(), index=0)
app.register_lifespan_task(lifespan, services=services)
app.register_lifespan_task(connection_draining.drain_connections, services=services)
app.register_lifespan_task(strangers.close_quiet_connections)

ADMIN_ONLY = "For admins only."
# Address, page, title, what crawlers and link previews say about it, and what loads it.
PAGES = (
    (routes.HOME, landing.page, APP_NAME, landing.DESCRIPTION, None),
    (
        routes.LOGIN,
        account.login,
        "Sign in",
        f"Sign in to {APP_NAME}.",
        Session.leave_if_signed_in,
    ),
    (
        routes.SIGNUP,
        account.signup,
        "Create your account",
        f"Create an account on {APP_NAME} and start chatting.",
        Session.leave_if_signed_in,
    ),
    (
        routes.RESET,
        account.reset,
        "Reset your password",
        f"Reset your {APP_NAME} password.",
        Recovery.look,
    ),
    (routes.CONFIRM, account.confirm, "Confirm", "Confirm a link from an email.", None),
    (
        routes.CHAT_ROUTE,
        chat.page,
        chat.title(),
        f"Chat with AI models on {APP_NAME}.",
        Chat.load,
    ),
    (
        routes.DASHBOARD,
        dashboard.page,
        "Usage",
        "How many tokens you used and when they renew.",
        Dashboard.load,
    ),
    (
        routes.BILLING,
        billing.page,
        "Billing",
        "Your plan, your spending cap, and your invoices.",
        Billing.load,
    ),
    (
        routes.SETTINGS,
        profile.page,
        "Settings",
        "Your profile, password, and sessions.",
        Profile.load,
    ),
    (
        routes.SUSPENDED,
        suspended.page,
        "Account suspended",
        "What you can do while your account is suspended.",
        Session.leave_unless_suspended,
    ),
    (routes.ADMIN, all_usage.page, "Usage · Admin", ADMIN_ONLY, Usage.load),
    (routes.ADMIN_USERS, users.page, "Users · Admin", ADMIN_ONLY, Users.load),
    (routes.ADMIN_USER_ROUTE, user.page, "User · Admin", ADMIN_ONLY, OneUser.load),
    (routes.ADMIN_CONTROLS, controls.page, "Controls · Admin", ADMIN_ONLY, Controls.load),
    (
        routes.ADMIN_PROVIDERS,
        providers.page,
        "Providers · Admin",
        ADMIN_ONLY,
        ProviderStatuses.load,
    ),
    (routes.ADMIN_MONEY, money.page, "Billing · Admin", ADMIN_ONLY, Money.load),
    (routes.ADMIN_AUDIT, audit.page, "Audit log · Admin", ADMIN_ONLY, Audit.load),
    (
        routes.NOT_FOUND,
        not_found.page,
        "Page not found",
        "This page doesn’t exist.",
        None,
    ),
)
OWN_TITLE = (routes.HOME, routes.CHAT_ROUTE)
for route, page, title, description, on_load in PAGES:
    app.add_page(
        page,
        route=route,
        title=title if route in OWN_TITLE else f"{title} · {APP_NAME}",
        description=description,
        image=theme.PREVIEW,
        on_load=on_load,
    )
