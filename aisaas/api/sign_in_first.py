"""A page that needs a session sends a visitor without one to the sign-in, before anything loads.

Only whether there is a session cookie is looked at: whether it is worth anything is decided by every
handler, over the socket. This is a convenience, not protection.
"""

from __future__ import annotations

from starlette.datastructures import URL, Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from aisaas.accounts.sessions import token_from
from aisaas.api.paths import is_protected, login_for
from aisaas.wiring import services


class SignInFirst:
    """ASGI middleware around the pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_protected(scope["path"]):
            cookies = Headers(scope=scope).get("cookie")
            if token_from(cookies, services().cookie) is None:
                asked = URL(scope=scope)
                target = f"{asked.path}?{asked.query}" if asked.query else asked.path
                await RedirectResponse(login_for(target), 303)(scope, receive, send)
                return
        await self._app(scope, receive, send)
