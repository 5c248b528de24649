"""Every refusal of the server, and the two shapes in which clients expect to read one.

A client that sends `X-Supabase-Api-Version: 2024-01-01` (or later) gets `{"code", "message"}`, with
that version echoed; any other gets `{"code": <status>, "error_code", "msg"}`.
"""

import re
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

VERSION_HEADER = "x-supabase-api-version"
FIRST_VERSION = "2024-01-01"
VERSION_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}")


class AuthError(Exception):
    """A refusal: HTTP status, machine-readable code, and a sentence for people."""

    def __init__(self, status: int, code: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra = extra


class GatewayError(Exception):
    """The project key is missing or wrong. On hosted, the gateway in front answers this itself."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def invalid(message: str, status: int = HTTPStatus.BAD_REQUEST) -> AuthError:
    return AuthError(status, "validation_failed", message)


def bad_jwt(why: str) -> AuthError:
    return AuthError(
        HTTPStatus.FORBIDDEN,
        "bad_jwt",
        f"invalid JWT: unable to parse or verify signature, {why}",
    )


def weak_password(minimum: int) -> AuthError:
    return AuthError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "weak_password",
        f"Password should be at least {minimum} characters.",
        weak_password={"reasons": ["length"]},
    )


def too_soon(seconds: int) -> AuthError:
    return AuthError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "over_email_send_rate_limit",
        f"For security purposes, you can only request this after {seconds} seconds.",
    )


INVALID_CREDENTIALS = ("invalid_credentials", "Invalid login credentials")
EMAIL_NOT_CONFIRMED = ("email_not_confirmed", "Email not confirmed")
SIGNUP_DISABLED = ("signup_disabled", "Signups not allowed for this instance")
USER_BANNED = ("user_banned", "User is banned")
USER_NOT_FOUND = ("user_not_found", "User not found")
SESSION_NOT_FOUND = (
    "session_not_found",
    "Session from session_id claim in JWT does not exist",
)
EMAIL_EXISTS = (
    "email_exists",
    "A user with this email address has already been registered",
)


def render(error: AuthError, requested_version: str | None) -> JSONResponse:
    """The response for `error`, in the shape that the requested version asks for."""
    headers = {"x-sb-error-code": error.code}
    version = requested_version or ""
    if VERSION_PATTERN.fullmatch(version) and version >= FIRST_VERSION:
        headers[VERSION_HEADER] = FIRST_VERSION
        body: dict[str, Any] = {"code": error.code, "message": error.message}
    else:
        body = {"code": int(error.status), "error_code": error.code, "msg": error.message}
    return JSONResponse(body | error.extra, status_code=int(error.status), headers=headers)
