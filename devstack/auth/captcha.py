"""A captcha's answer, verified as Supabase does it: before any other check.

Invariant: without the vendor's clear yes a request is refused, also when the vendor is unavailable.
"""

from http import HTTPStatus
from typing import Any, cast

import httpx
from starlette.responses import Response

from devstack.auth.call import Action, Body, Call
from devstack.auth.config import Captcha
from devstack.auth.errors import AuthError
from devstack.auth.services import Services
from devstack.serving import log

VENDOR_SECONDS = 10.0


class Security(Body):
    captcha_token: str | None = None


class Guarded(Body):
    gotrue_meta_security: Security | None = None


def guarded(action: Action) -> Action:
    """The action, behind the captcha where one is set up."""

    async def checked(services: Services, call: Call) -> Response:
        await check(services, call)
        return await action(services, call)

    return checked


async def check(services: Services, call: Call) -> None:
    """Raises `AuthError` 400 captcha_failed, or 500 when the vendor gives no sensible answer."""
    captcha = services.config.captcha
    if captcha is None or call.is_admin:
        return
    security = (await call.read(Guarded)).gotrue_meta_security
    token = (security.captcha_token or "").strip() if security else ""
    if not token:
        raise _refused("no captcha_token found")
    verdict = await _verdict(captcha, token, call.client_address)
    if verdict.get("success") is not True:
        codes = verdict.get("error-codes")
        raise _refused(", ".join(map(str, cast("list[Any]", codes))) if codes else "")


async def _verdict(captcha: Captcha, token: str, address: str) -> dict[str, Any]:
    form = {"secret": captcha.secret, "response": token, "remoteip": address}
    try:
        async with httpx.AsyncClient(timeout=VENDOR_SECONDS, trust_env=False) as http:
            answer = (await http.post(captcha.verify_url, data=form)).json()
    except (httpx.HTTPError, ValueError) as error:
        log("captcha vendor unavailable", failed=True)
        raise _no_verdict() from error
    if not isinstance(answer, dict):
        raise _no_verdict()
    return cast("dict[str, Any]", answer)


def _refused(why: str) -> AuthError:
    return AuthError(
        HTTPStatus.BAD_REQUEST,
        "captcha_failed",
        f"captcha protection: request disallowed ({why})",
    )


def _no_verdict() -> AuthError:
    return AuthError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "unexpected_failure",
        "captcha verification process failed",
    )
