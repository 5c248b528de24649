"""Identity through supabase-py: hosted Supabase Auth or the embedded server, one code path.

A supabase-py client remembers a session and may start a refresh timer, so every call that yields a
session gets a client of its own; all share one HTTP connection pool.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import httpx
from supabase import AsyncClient, AsyncClientOptions
from supabase_auth.errors import (
    AuthError as SupabaseAuthError,
)
from supabase_auth.errors import (
    AuthRetryableError,
    AuthUnknownError,
    AuthWeakPasswordError,
)
from supabase_auth.types import Session, User

from aisaas.errors import AuthError, DependencyError
from aisaas.ports import AuthSession, AuthUser

TIMEOUT_SECONDS = 5.0
SERVER_TROUBLE = 500

SENTENCES = {
    "invalid_credentials": "That email and password don't match an account.",
    "email_not_confirmed": "Confirm your email address first; we sent you a link.",
    "user_already_exists": "There is already an account with that email address. Sign in instead.",
    "email_exists": "There is already an account with that email address. Sign in instead.",
    "user_banned": "This account is suspended.",
    "signup_disabled": "Sign-up is closed at the moment.",
    "validation_failed": "Check the email address and the password.",
    "email_address_invalid": "That email address can't be used.",
    "over_request_rate_limit": "Too many tries. Wait a minute and try again.",
    "over_email_send_rate_limit": "Too many mails were asked for. Wait a minute and try again.",
}
DEFAULT_SENTENCE = "That didn't work. Check what you typed and try again."


class SupabaseIdentity:
    """Implements `ports.Identity`."""

    def __init__(self, url: str, publishable_key: str) -> None:
        self._url = url
        self._key = publishable_key
        self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def sign_up(self, email: str, password: str, full_name: str) -> AuthSession | None:
        async with _translated():
            answer = await self._client().auth.sign_up(
                {
                    "email": email,
                    "password": password,
                    "options": {"data": {"full_name": full_name}},
                }
            )
        return _session(answer.session) if answer.session else None

    async def sign_in(self, email: str, password: str) -> AuthSession:
        async with _translated():
            answer = await self._client().auth.sign_in_with_password(
                {"email": email, "password": password}
            )
        return _session(answer.session)

    async def refresh(self, refresh_token: str) -> AuthSession:
        async with _translated():
            answer = await self._client().auth.refresh_session(refresh_token)
        return _session(answer.session)

    async def get_user(self, access_token: str) -> AuthUser:
        async with _translated():
            answer = await self._client().auth.get_user(access_token)
        if answer is None:
            raise AuthError("session_not_found", DEFAULT_SENTENCE)
        return _user(answer.user)

    async def sign_out(self, access_token: str) -> None:
        async with _translated():
            # The admin call takes the token as an argument and needs no stored session.
            await self._client().auth.admin.sign_out(access_token, "local")

    def _client(self) -> AsyncClient:
        return AsyncClient(
            self._url,
            self._key,
            AsyncClientOptions(
                auto_refresh_token=False, persist_session=False, httpx_client=self._http
            ),
        )


@asynccontextmanager
async def _translated() -> AsyncGenerator[None]:
    """The vendor's errors as ours. No answer, or trouble on their side, is an outage, not a no."""
    try:
        yield
    except AuthWeakPasswordError as error:
        raise AuthError("weak_password", "Use at least 8 characters for the password.") from error
    except (AuthRetryableError, AuthUnknownError, httpx.HTTPError, OSError) as error:
        raise DependencyError("auth") from error
    except SupabaseAuthError as error:
        if int(getattr(error, "status", 0) or 0) >= SERVER_TROUBLE:
            raise DependencyError("auth") from error
        code = str(error.code or "auth_error")
        raise AuthError(code, SENTENCES.get(code, DEFAULT_SENTENCE)) from error


def _user(user: User) -> AuthUser:
    return AuthUser(
        id=UUID(user.id),
        email=user.email or "",
        email_confirmed=user.email_confirmed_at is not None,
        created_at=user.created_at,
    )


def _session(session: Session | None) -> AuthSession:
    if session is None or session.expires_at is None:
        raise DependencyError("auth")
    return AuthSession(
        user=_user(session.user),
        access_token=session.access_token,
        refresh_token=session.refresh_token,
        expires_at=datetime.fromtimestamp(session.expires_at, tz=UTC),
    )
