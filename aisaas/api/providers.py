"""Signing in at a provider: out with a secret in a sealed cookie, back with a code.

The code works only together with the verifier, which only the browser that started has. So a link to
the callback can't sign a user in to another user's account.
"""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from aisaas.accounts.sessions import token_from
from aisaas.api.forms import SEE_OTHER, origin_of, signed_in, to_page, user_agent
from aisaas.api.paths import LOGIN, own_path
from aisaas.api.serving import services_of
from aisaas.errors import AuthError, DependencyError, NotFound, Unavailable
from aisaas.wiring import Services

CALLBACK = "/api/session/callback"
# As long as the auth server keeps what it remembers of a visit, and a little.
VISIT_SECONDS = 600
MAX_CODE = 512
# Our codes for failed visits, as a provider or the auth server reports them.
CANCELLED = "access_denied"
LOST = "visit_lost"
FAILED = "provider_failed"


async def visit(request: Request) -> Response:
    """Off to the provider."""
    these = services_of(request)
    target = own_path(request.query_params.get("redirectTo"))
    try:
        found = await these.accounts.visit_provider(
            request.path_params["provider"], redirect_to=origin_of(request) + CALLBACK
        )
    except NotFound:
        return to_page(LOGIN, error="provider_disabled", redirectTo=target)
    response = RedirectResponse(found.url, SEE_OTHER)
    sealed = these.visits.seal(json.dumps({"verifier": found.verifier, "target": target}))
    response.set_cookie(
        _cookie(these),
        sealed.decode(),
        max_age=VISIT_SECONDS,
        path=_path(these),
        secure=these.settings.secure_cookies,
        httponly=True,
        # Lax: it has to come along when the provider sends the browser back.
        samesite="lax",
    )
    return response


async def callback(request: Request) -> Response:
    """Back from the provider."""
    these = services_of(request)
    response = await _answer(request, these)
    response.delete_cookie(
        _cookie(these), path=_path(these), secure=these.settings.secure_cookies, httponly=True
    )
    return response


async def _answer(request: Request, these: Services) -> Response:
    sealed = token_from(request.headers.get("cookie"), _cookie(these))
    opened = these.visits.open(sealed.encode()) if sealed else None
    if opened is None:
        return to_page(LOGIN, error=LOST)
    kept = json.loads(opened)
    target = own_path(kept["target"])
    code = request.query_params.get("code", "")
    if not code or len(code) > MAX_CODE:
        cancelled = request.query_params.get("error") == CANCELLED
        return to_page(LOGIN, error=CANCELLED if cancelled else FAILED, redirectTo=target)
    try:
        result = await these.accounts.return_from_provider(
            code, kept["verifier"], user_agent=user_agent(request)
        )
    except AuthError as error:
        return to_page(LOGIN, error=error.code, redirectTo=target)
    except DependencyError:
        return to_page(LOGIN, error=Unavailable.code, redirectTo=target)
    return signed_in(request, result, target)


def _cookie(these: Services) -> str:
    return f"{these.cookie}_visit"


def _path(these: Services) -> str:
    # The `__Host-` prefix requires the path of the whole host.
    return "/" if these.cookie.startswith("__Host-") else CALLBACK


def routes() -> list[Route]:
    return [
        Route("/api/session/oauth/{provider}", visit, methods=["GET"]),
        Route(CALLBACK, callback, methods=["GET"]),
    ]
