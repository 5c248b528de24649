"""`POST /token`: a password, a refresh token or a PKCE code becomes a session."""

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from devstack.auth import captcha, one_time, sessions, users
from devstack.auth.account import phones_refused
from devstack.auth.call import Body, Call
from devstack.auth.errors import (
    EMAIL_NOT_CONFIRMED,
    INVALID_CREDENTIALS,
    USER_BANNED,
    AuthError,
    invalid,
)
from devstack.auth.services import Services


class PasswordGrant(Body):
    email: str | None = None
    phone: str | None = None
    password: str | None = None


class RefreshGrant(Body):
    refresh_token: str | None = None


class PkceGrant(Body):
    auth_code: str | None = None
    code_verifier: str | None = None


async def token(services: Services, call: Call) -> Response:
    match call.query("grant_type"):
        case "password":
            await captcha.check(services, call)
            session = await _by_password(services, call)
        case "refresh_token":
            session = await _by_refresh_token(services, call)
        case "pkce":
            session = await _by_code(services, call)
        case _:
            raise AuthError(HTTPStatus.BAD_REQUEST, "invalid_credentials", "unsupported_grant_type")
    return JSONResponse(session, headers={"cache-control": "no-store"})


async def _by_password(services: Services, call: Call) -> dict[str, Any]:
    body = await call.read(PasswordGrant)
    if body.phone and not body.email:
        raise phones_refused("Phone logins are disabled")
    if not body.email or body.password is None:
        raise invalid("missing email or phone")
    email = body.email.lower()
    async with services.database.transaction() as connection:
        user = await users.by_email(connection, email)
    encrypted = user.encrypted_password if user else None
    matches = await services.passwords.verify(encrypted, body.password)
    if not user or not matches:
        raise AuthError(HTTPStatus.BAD_REQUEST, *INVALID_CREDENTIALS)
    async with services.database.transaction() as connection:
        # Read again: hashing took a while.
        user = await users.by_id(connection, user.id, lock=True)
        if user is None or user.encrypted_password != encrypted:
            raise AuthError(HTTPStatus.BAD_REQUEST, *INVALID_CREDENTIALS)
        if user.banned:
            raise AuthError(HTTPStatus.BAD_REQUEST, *USER_BANNED)
        if not user.confirmed:
            raise AuthError(HTTPStatus.BAD_REQUEST, *EMAIL_NOT_CONFIRMED)
        return await sessions.open_session(
            services, connection, user.id, method="password", user_agent=call.user_agent
        )


async def _by_refresh_token(services: Services, call: Call) -> dict[str, Any]:
    body = await call.read(RefreshGrant)
    if not body.refresh_token:
        raise invalid("refresh_token required")
    return await sessions.renew(services, body.refresh_token)


async def _by_code(services: Services, call: Call) -> dict[str, Any]:
    body = await call.read(PkceGrant)
    if not body.auth_code or not body.code_verifier:
        raise invalid("invalid request: both auth code and code verifier should be non-empty")
    async with services.database.transaction() as connection:
        user_id, method = await one_time.finish_flow(connection, body.auth_code, body.code_verifier)
        user = await users.by_id(connection, user_id)
        if user is None or user.banned:
            raise AuthError(HTTPStatus.FORBIDDEN, *USER_BANNED)
        return await sessions.open_session(
            services, connection, user_id, method=method, user_agent=call.user_agent
        )
