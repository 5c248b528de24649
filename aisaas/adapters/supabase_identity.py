"""Identity through supabase-py: hosted Supabase Auth or the embedded server, one code path.

A supabase-py client remembers a session and may start a refresh timer, so every call gets a client
of its own; all share one HTTP connection pool.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import httpx
from pydantic import ValidationError
from supabase import AsyncClient, AsyncClientOptions
from supabase_auth import AsyncMemoryStorage
from supabase_auth.errors import (
    AuthError as SupabaseAuthError,
)
from supabase_auth.errors import (
    AuthRetryableError,
    AuthUnknownError,
    AuthWeakPasswordError,
)
from supabase_auth.types import Provider, Session, User

from aisaas.accounts.ports import AuthSession, AuthUser, LinkKind, ProviderVisit, SignOutScope
from aisaas.errors import AuthError, DependencyError
from aisaas.observe.outages import OUTAGES, is_late

TIMEOUT_SECONDS = 5.0
SERVER_TROUBLE = 500
BUSY = "over_request_rate_limit"
# A visitor who doesn't know the password doesn't learn which of these it was.
NO_SUCH_PAIR = frozenset({"invalid_credentials", "user_banned", "user_not_found"})

SENTENCES = {
    "invalid_credentials": "Incorrect email or password.",
    "email_not_confirmed": "Confirm your email address first. We sent you a link.",
    "user_already_exists": "An account with that email address already exists. Sign in instead.",
    "email_exists": "An account with that email address already exists.",
    "user_banned": "Your account is suspended. Contact support.",
    "signup_disabled": "Sign-up is closed.",
    "validation_failed": "Check the email address and the password.",
    "email_address_invalid": "We can't use that email address. Try another one.",
    "email_address_not_authorized": "We can't use that email address. Try another one.",
    "same_password": "That's already your password. Choose another one.",
    "reauthentication_needed": "Sign out and sign in again, then change your password.",
    "otp_expired": "That link has expired or was already used. Request a new one.",
    "captcha_failed": "We couldn't verify that you're human. Try again.",
    "flow_state_not_found": "That sign-in has expired. Start again.",
    "flow_state_expired": "That sign-in has expired. Start again.",
    "bad_code_verifier": "That sign-in was started in another browser. Start again here.",
    "bad_oauth_state": "That sign-in has expired. Start again.",
    "provider_disabled": "That sign-in method isn't available.",
    "not_admin": "Supabase doesn't accept SUPABASE_SECRET_KEY as the project's secret key.",
    BUSY: "Too many attempts. Wait a minute and try again.",
    "over_email_send_rate_limit": "You've requested too many emails. Wait a minute and try again.",
}
# Messages by the auth server's reasons for a weak password; the first that applies is shown.
WEAK = {
    "pwned": "That password has appeared in a data leak. Choose another one.",
    "characters": "Use uppercase and lowercase letters, numbers, and symbols in your password.",
    "length": "Use at least 8 characters for your password.",
}
DEFAULT_SENTENCE = "That didn't work. Check your entries and try again."


class SupabaseIdentity:
    """Implements `accounts.ports.Identity`."""

    def __init__(self, url: str, publishable_key: str, secret_key: str | None = None) -> None:
        self._url = url
        self._key = publishable_key
        self._secret_key = secret_key
        self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def reach(self) -> None:
        """Returns when the auth server reports that it is healthy. Raises DependencyError."""
        async with _translated():
            answer = await self._http.get(
                f"{self._url}/auth/v1/health", headers={"apikey": self._key}
            )
            answer.raise_for_status()

    # Sessions

    async def sign_up(
        self,
        email: str,
        password: str,
        full_name: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> AuthSession | None:
        options = _options(captcha, email_redirect_to=redirect_to, data={"full_name": full_name})
        async with _translated():
            answer = await self._client().auth.sign_up(
                {"email": email, "password": password, "options": options}
            )
        return _session(answer.session) if answer.session else None

    async def sign_in(
        self, email: str, password: str, *, captcha: str | None = None
    ) -> AuthSession:
        try:
            async with _translated():
                answer = await self._client().auth.sign_in_with_password(
                    {"email": email, "password": password, "options": _options(captcha)}
                )
        except AuthError as error:
            if error.code in NO_SUCH_PAIR:
                code = "invalid_credentials"
                raise AuthError(code, SENTENCES[code]) from error
            raise
        return _session(answer.session)

    async def refresh(self, refresh_token: str) -> AuthSession:
        async with _translated(busy_is_outage=True):
            answer = await self._client().auth.refresh_session(refresh_token)
        return _session(answer.session)

    async def get_user(self, access_token: str) -> AuthUser:
        async with _translated(busy_is_outage=True):
            answer = await self._client().auth.get_user(access_token)
        if answer is None:
            raise AuthError("session_not_found", DEFAULT_SENTENCE)
        return _user(answer.user)

    async def sign_out(self, access_token: str, scope: SignOutScope = "local") -> None:
        async with _translated():
            # The admin call takes the token as an argument and needs no stored session.
            await self._client().auth.admin.sign_out(access_token, scope)

    # Mail

    async def mail_reset(
        self,
        email: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
        trusted: bool = False,
    ) -> None:
        async with _translated():
            await self._mailing(trusted).auth.reset_password_for_email(
                email, _options(captcha, redirect_to=redirect_to)
            )

    async def mail_sign_in(
        self,
        email: str,
        *,
        may_sign_up: bool,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> None:
        options = _options(captcha, email_redirect_to=redirect_to, should_create_user=may_sign_up)
        async with _translated():
            await self._client().auth.sign_in_with_otp({"email": email, "options": options})

    async def mail_confirmation(
        self,
        email: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
        trusted: bool = False,
    ) -> None:
        options = _options(captcha, email_redirect_to=redirect_to)
        async with _translated():
            await self._mailing(trusted).auth.resend(
                {"type": "signup", "email": email, "options": options}
            )

    async def verify(self, token_hash: str, kind: LinkKind) -> AuthSession | None:
        async with _translated():
            answer = await self._client().auth.verify_otp({"token_hash": token_hash, "type": kind})
        if answer.session is None and kind == "email_change":
            return None
        return _session(answer.session)

    # Changes

    async def change_password(self, access_token: str, password: str) -> None:
        async with _translated():
            client = await self._client_of(access_token)
            await client.auth.update_user({"password": password})

    async def change_address(
        self, access_token: str, email: str, *, redirect_to: str | None = None
    ) -> AuthUser:
        async with _translated():
            client = await self._client_of(access_token)
            answer = await client.auth.update_user(
                {"email": email}, {"email_redirect_to": redirect_to} if redirect_to else None
            )
        return _user(answer.user)

    # Providers

    async def visit_provider(self, provider: str, *, redirect_to: str) -> ProviderVisit:
        storage = AsyncMemoryStorage()
        client = AsyncClient(
            self._url,
            self._key,
            AsyncClientOptions(
                auto_refresh_token=False,
                flow_type="pkce",
                storage=storage,
                httpx_client=self._http,
            ),
        )
        async with _translated():
            # No request: the address and the challenge are made here, the verifier is stored.
            visit = await client.auth.sign_in_with_oauth(
                {
                    # The settings have let only providers through that supabase-py knows.
                    "provider": cast("Provider", provider),
                    "options": {"redirect_to": redirect_to},
                }
            )
        (verifier,) = storage.storage.values()
        return ProviderVisit(visit.url, verifier)

    async def exchange(self, code: str, verifier: str) -> AuthSession:
        async with _translated():
            answer = await self._client().auth.exchange_code_for_session(
                {"auth_code": code, "code_verifier": verifier, "redirect_to": ""}
            )
        return _session(answer.session)

    # The secret key's

    async def invite(self, email: str, *, redirect_to: str | None = None) -> AuthUser:
        client = self._trusted_client()
        async with _translated():
            answer = await client.auth.admin.invite_user_by_email(
                email, {"redirect_to": redirect_to} if redirect_to else None
            )
        return _user(answer.user)

    def _mailing(self, trusted: bool) -> AsyncClient:
        return self._trusted_client() if trusted else self._client()

    def _trusted_client(self) -> AsyncClient:
        if self._secret_key is None:
            raise AuthError("not_admin", SENTENCES["not_admin"])
        return self._client(self._secret_key)

    def _client(self, key: str | None = None) -> AsyncClient:
        return AsyncClient(
            self._url,
            key or self._key,
            AsyncClientOptions(
                auto_refresh_token=False,
                persist_session=False,
                # A mail's link may be opened in another browser, which has no verifier.
                flow_type="implicit",
                httpx_client=self._http,
            ),
        )

    async def _client_of(self, access_token: str) -> AsyncClient:
        """A client that acts as a user. It has no refresh token, so it renews nothing."""
        client = self._client()
        await client.auth.set_session(access_token, "")
        return client


def _options(captcha: str | None, **others: object) -> Any:
    given = {"captcha_token": captcha, **others}
    return {name: value for name, value in given.items() if value is not None}


@asynccontextmanager
async def _translated(*, busy_is_outage: bool = False) -> AsyncGenerator[None]:
    """The vendor's errors as ours. No response, or trouble on their side, is an outage, not a no.

    With `busy_is_outage`, a rate limit is one as well: it says nothing about the session in question,
    and must not end it.
    """
    try:
        yield
        OUTAGES.answered("auth")
    except AuthWeakPasswordError as error:
        reason = next((name for name in WEAK if name in error.reasons), "length")
        raise AuthError("weak_password", WEAK[reason]) from error
    except (AuthRetryableError, AuthUnknownError, httpx.HTTPError, OSError) as error:
        OUTAGES.failed("auth", late=is_late(error))
        raise DependencyError("auth") from error
    except ValidationError as error:
        # An answer that isn't the auth server's: a proxy's page, for example.
        OUTAGES.failed("auth", late=is_late(error))
        raise DependencyError("auth") from error
    except SupabaseAuthError as error:
        code = str(error.code or "auth_error")
        if int(getattr(error, "status", 0) or 0) >= SERVER_TROUBLE:
            OUTAGES.failed("auth", late=is_late(error))
            raise DependencyError("auth") from error
        OUTAGES.answered("auth")
        if busy_is_outage and code == BUSY:
            raise DependencyError("auth") from error
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
