"""The ports of accounts: the auth server, and a limiter of attempts, which other domains use too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol
from uuid import UUID

# The purpose of a mail's link, and which of a user's sessions a sign-out ends.
LinkKind = Literal["signup", "invite", "magiclink", "recovery", "email_change", "email"]
SignOutScope = Literal["local", "others", "global"]


@dataclass(frozen=True, slots=True)
class AuthUser:
    """A user as the auth server knows them."""

    id: UUID
    email: str
    email_confirmed: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuthSession:
    """Tokens of one sign-in. They never leave the server."""

    user: AuthUser
    access_token: str
    refresh_token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ProviderVisit:
    """Where a browser goes to sign in at a provider, and the secret that proves that the same browser
    comes back (PKCE)."""

    url: str
    verifier: str


class Identity(Protocol):
    """The auth server. Every method raises AuthError when it says no, DependencyError when it
    doesn't answer.

    `captcha` is the token from the browser's captcha widget; the auth server checks it.
    `redirect_to` is where a mail's link finally leads, an absolute address of ours.
    `trusted` means that we make the request ourselves, with the secret key, so without a captcha.
    """

    async def sign_up(
        self,
        email: str,
        password: str,
        full_name: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> AuthSession | None:
        """Create an account; None when it has to be confirmed by mail first."""
        ...

    async def sign_in(
        self, email: str, password: str, *, captcha: str | None = None
    ) -> AuthSession: ...

    async def refresh(self, refresh_token: str) -> AuthSession: ...

    async def get_user(self, access_token: str) -> AuthUser:
        """Ask the server: it knows of revocation, bans and deletion, which a decoded token doesn't."""
        ...

    async def sign_out(self, access_token: str, scope: SignOutScope = "local") -> None:
        """End the token's session, all others of its user, or all."""
        ...

    async def mail_reset(
        self,
        email: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
        trusted: bool = False,
    ) -> None: ...

    async def mail_sign_in(
        self,
        email: str,
        *,
        may_sign_up: bool,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> None:
        """Mail a sign-in link; with `may_sign_up` it creates the account if there is none."""
        ...

    async def mail_confirmation(
        self,
        email: str,
        *,
        captcha: str | None = None,
        redirect_to: str | None = None,
        trusted: bool = False,
    ) -> None:
        """Resend the link of a sign-up."""
        ...

    async def verify(self, token_hash: str, kind: LinkKind) -> AuthSession | None:
        """Redeem a mail's link; None when a change of address needs the other mailbox too."""
        ...

    async def change_password(self, access_token: str, password: str) -> None: ...

    async def change_address(
        self, access_token: str, email: str, *, redirect_to: str | None = None
    ) -> AuthUser:
        """The user as they are now: with the old address when the new one has to be confirmed."""
        ...

    async def visit_provider(self, provider: str, *, redirect_to: str) -> ProviderVisit: ...

    async def exchange(self, code: str, verifier: str) -> AuthSession:
        """Exchange the code from a visit to a provider for a session."""
        ...

    async def invite(self, email: str, *, redirect_to: str | None = None) -> AuthUser:
        """Create an account and mail its owner a link to it. Needs the secret key."""
        ...


ATTEMPTS = "{attempts}"


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` attempts within any `seconds`. `key` names what is counted and is no secret.

    Windows of one call share a `group`, whose braces keep them in one slot of a cluster. One that isn't
    `exact` holds two numbers however high its limit is, and can release an attempt while an exact one
    beside it remembers it.
    """

    key: str
    limit: int
    seconds: int
    group: str = ATTEMPTS
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Full:
    """Nothing was counted. `waits` are the seconds until each window has room, 0 where it has; `now`
    is the limiter's clock."""

    waits: tuple[float, ...]
    now: datetime

    @property
    def seconds(self) -> float:
        """Seconds until all windows have room."""
        return max(self.waits)

    def after(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)


class Limiter(Protocol):
    """Every method raises DependencyError, within 300 ms, when the result is unknown."""

    async def acquire(self, attempt_id: UUID, windows: Sequence[Window]) -> Full | None:
        """Count an attempt in all windows (None) or in none. The same id counts once."""
        ...

    async def release(self, attempt_id: UUID, windows: Sequence[Window]) -> None:
        """Remove an attempt from the count."""
        ...
