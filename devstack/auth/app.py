"""The HTTP interface: the routes, who may call them, and the format of a refusal."""

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

import psycopg
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack.auth import account, admin, factors, grants, links, mail, oauth
from devstack.auth.call import Action, Call
from devstack.auth.captcha import guarded
from devstack.auth.config import LOOPBACK_NAMES
from devstack.auth.database import unavailable
from devstack.auth.errors import VERSION_HEADER, AuthError, GatewayError, render
from devstack.auth.providers import PROVIDERS
from devstack.auth.services import Services
from devstack.serving import log

JWKS_SECONDS = 600


async def settings(services: Services, _call: Call) -> Response:
    config = services.config
    providers = {name: name in config.providers for name in PROVIDERS}
    return JSONResponse(
        {
            "external": {**providers, "email": True, "phone": False, "anonymous_users": False},
            "disable_signup": config.disable_signup,
            "mailer_autoconfirm": config.autoconfirm,
            "phone_autoconfirm": False,
            "sms_provider": "",
            "mfa_enabled": True,
            "saml_enabled": False,
        }
    )


async def health(services: Services, _call: Call) -> Response:
    async with services.database.transaction() as connection:
        await connection.execute("select 1")
    return JSONResponse(
        {
            "name": "embedded-auth",
            "version": "1",
            "description": "A development server with the interface of Supabase Auth",
        }
    )


async def jwks(services: Services, _call: Call) -> Response:
    return JSONResponse(
        services.keyring.jwks(), headers={"cache-control": f"public, max-age={JWKS_SECONDS}"}
    )


# Method, path below /auth/v1, what to do. Each needs one of the project's keys.
KEYED: tuple[tuple[str, str, Action], ...] = (
    ("GET", "/settings", settings),
    ("POST", "/signup", guarded(account.sign_up)),
    ("POST", "/token", grants.token),
    ("GET", "/user", account.show),
    ("PUT", "/user", account.change),
    ("GET", "/reauthenticate", account.reauthenticate),
    ("POST", "/factors", factors.enroll),
    ("POST", "/factors/{factor_id}/challenge", factors.challenge),
    ("POST", "/factors/{factor_id}/verify", factors.verify),
    ("DELETE", "/factors/{factor_id}", factors.unenroll),
    ("POST", "/logout", account.sign_out),
    ("POST", "/recover", guarded(links.recover)),
    ("POST", "/otp", guarded(links.one_time_password)),
    ("POST", "/magiclink", guarded(links.one_time_password)),
    ("POST", "/resend", guarded(links.resend)),
    ("POST", "/verify", links.verify),
    ("POST", "/invite", admin.invite),
    ("GET", "/admin/users", admin.list_users),
    ("POST", "/admin/users", admin.create_user),
    ("GET", "/admin/users/{id}", admin.show_user),
    ("PUT", "/admin/users/{id}", admin.update_user),
    ("DELETE", "/admin/users/{id}", admin.delete_user),
    ("GET", "/admin/users/{id}/factors", admin.list_factors),
    ("DELETE", "/admin/users/{id}/factors/{factor_id}", admin.delete_factor),
    ("POST", "/admin/generate_link", admin.generate_link),
)
# Reached by browsers, launchers and token readers, which have no key.
OPEN: tuple[tuple[str, str, Action], ...] = (
    ("GET", "/auth/v1/verify", links.follow_link),
    ("GET", "/auth/v1/authorize", oauth.authorize),
    ("GET", "/provider/{provider}", oauth.show_provider),
    ("POST", "/provider/{provider}", oauth.decide),
    ("GET", "/auth/v1/health", health),
    ("GET", "/auth/v1/.well-known/jwks.json", jwks),
    ("GET", "/mailbox", mail.as_page),
    ("GET", "/mailbox.json", mail.as_json),
    ("GET", "/mailbox/{id:int}", mail.one_as_page),
    ("GET", "/mailbox/{id:int}/html", mail.one_as_html),
)


def build_app(services: Services) -> Starlette:
    routes = [
        Route(f"/auth/v1{path}", _endpoint(services, action, keyed=True), methods=[method])
        for method, path, action in KEYED
    ]
    routes += [
        Route(path, _endpoint(services, action, keyed=False), methods=[method])
        for method, path, action in OPEN
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _not_routed})


def _endpoint(
    services: Services, action: Action, *, keyed: bool
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        response = await _answer(services, action, request, keyed=keyed)
        log(
            "request",
            # The path only: a query may carry a token.
            method=request.method,
            path=request.url.path,
            status=response.status_code,
            code=response.headers.get("x-sb-error-code"),
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
        )
        return response

    return endpoint


async def _answer(services: Services, action: Action, request: Request, *, keyed: bool) -> Response:
    version = request.headers.get(VERSION_HEADER)
    call = Call(request, services)
    try:
        _check_host(request)
        if keyed:
            call.check_project_key()
        return await action(services, call)
    except GatewayError as error:
        return JSONResponse(
            {"message": error.message, "hint": error.hint}, status_code=HTTPStatus.UNAUTHORIZED
        )
    except AuthError as error:
        return render(error, version)
    except psycopg.OperationalError:
        log("database unavailable", failed=True, path=request.url.path)
        return render(unavailable(), version)
    except psycopg.Error:
        log("database error", failed=True, path=request.url.path)
        failure = AuthError(
            HTTPStatus.INTERNAL_SERVER_ERROR, "unexpected_failure", "Database error"
        )
        return render(failure, version)
    except Exception:  # noqa: BLE001  # the last line before the client; logged, answered as 500
        log("unexpected error", failed=True, path=request.url.path)
        failure = AuthError(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "unexpected_failure",
            "Unexpected failure, please check server logs for more information",
        )
        return render(failure, version)


def _check_host(request: Request) -> None:
    # A page elsewhere could point a name of its own at this machine and read the mailbox.
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        host = None
    if host not in LOOPBACK_NAMES:
        raise AuthError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "validation_failed",
            "This server is for this machine only",
        )


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = (
        "method_not_allowed" if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else "not_found"
    )
    refusal = AuthError(error.status_code, code, f"{request.method} is not served at this address")
    return render(refusal, request.headers.get(VERSION_HEADER))
