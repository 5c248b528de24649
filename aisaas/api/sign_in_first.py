"""Redirects before anything loads: a page that needs a session sends a visitor without one to the
sign-in, and the sign-in sends a user who has one to their usage.

On protected pages this only checks that there is a session cookie: every handler decides over the
socket whether it is valid. This is a convenience, not protection.
"""

from __future__ import annotations

from starlette.datastructures import URL, Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from aisaas.accounts.sessions import token_from
from aisaas.api.paths import DASHBOARD, SUSPENDED, is_auth_page, is_protected, login_for
from aisaas.api.serving import Provide
from aisaas.errors import Refusal, Suspended
from aisaas.wiring import Services


class SignInFirst:
    """ASGI middleware around the pages."""

    def __init__(self, app: ASGIApp, services: Provide) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (target := await _elsewhere(scope, self._services())):
            await RedirectResponse(target, 303)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _elsewhere(scope: Scope, these: Services) -> str | None:
    cookies = Headers(scope=scope).get("cookie")
    has_session = token_from(cookies, these.cookie) is not None
    if is_protected(scope["path"]) and not has_session:
        asked = URL(scope=scope)
        return login_for(f"{asked.path}?{asked.query}" if asked.query else asked.path)
    # A session that is over must not lead back and forth.
    if is_auth_page(scope["path"]) and has_session:
        return await _home(cookies, these)
    return None


async def _home(cookies: str | None, these: Services) -> str | None:
    try:
        await these.accounts.principal(cookies)
    except Suspended:
        return SUSPENDED
    except Refusal:
        return None
    return DASHBOARD
