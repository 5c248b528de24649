"""Signing in and out, and what users change about their own accounts.

    in       sign-up, sign-in, a mail's link, a sign-in provider; each opens a session (live.py)
    mail     password reset, sign-in link, another confirmation
    change   password, address, name
    out      this session, another, all others, all

No response reveals whether an address has an account, except to a visitor who knows its password,
reads its mail, or signs up where addresses are not confirmed: mail requests get the same response
after the same time.

Outages: attempts that can't be counted are not made, and what the auth server would have to decide is
refused; both as DependencyError, shown as `unavailable`. Sessions can still be ended.
"""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import UUID

from aisaas.accounts import devices, store
from aisaas.accounts.attempts import Attempt, Attempts
from aisaas.accounts.live import LiveSessions
from aisaas.accounts.models import OpenedBy, OwnSession, Principal
from aisaas.accounts.passwords import check_new_password
from aisaas.accounts.ports import AuthSession, AuthUser, Identity, LinkKind, ProviderVisit
from aisaas.accounts.store import LiveSession
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.errors import (
    AuthError,
    DependencyError,
    NameInvalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
SignUpMode = Literal["open", "invitation", "closed"]
Scope = Literal["here", "others", "everywhere"]

MAX_NAME = 120
# Responses that could reveal whether an address has an account take this long, whatever the work.
FLOOR_SECONDS = 0.8
# Reasons for refusing a mail that reveal nothing about its address.
SAFE_MAIL_ERRORS = frozenset(
    {"captcha_failed", "validation_failed", "email_address_invalid", "over_request_rate_limit"}
)
MAIL_LIMIT = "over_email_send_rate_limit"
CLOSED = {
    "invitation": "You need an invitation to sign up. Ask the site's owner for one.",
    "closed": "Sign-up is closed.",
}
WRONG_PASSWORD = "Your current password is incorrect."  # noqa: S105  (a sentence)
OPENED_BY: dict[LinkKind, OpenedBy] = {
    "signup": "confirmation",
    "invite": "invite",
    "magiclink": "magic_link",
    "email": "magic_link",
    "recovery": "recovery",
    "email_change": "email_change",
}
# These prove that the account existed before; none of them can be an install's first.
OF_OLD_ACCOUNTS: frozenset[OpenedBy] = frozenset({"password", "recovery", "email_change"})


@dataclass(frozen=True, slots=True)
class AccountRules:
    """What the operator decided."""

    sign_up_mode: SignUpMode = "open"
    oauth_providers: tuple[str, ...] = ()
    first_account_is_admin: bool = False
    # The product's name in this install.
    product: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What sign-in returns to the route: the cookie's value and its user."""

    token: str
    user_id: UUID
    became_admin: bool = False


class Accounts:
    """The accounts of this instance.

    `address` is the caller's network address, from `api.client_address`; without one (no network
    between) only the limits per account apply.
    """

    def __init__(
        self,
        service: ServiceDatabase,
        user: UserDatabase,
        identity: Identity,
        live: LiveSessions,
        attempts: Attempts,
        rules: AccountRules,
    ) -> None:
        self._service = service
        self._user = user
        self._identity = identity
        self._live = live
        self._attempts = attempts
        self._rules = rules
        # Whether the auth server's last sign-up had to be confirmed by mail.
        self._confirms_by_mail = False
        self._late: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Wait for work that was answered before it was done."""
        if self._late:
            await asyncio.wait(self._late)

    # In

    async def sign_up(
        self,
        email: str,
        password: str,
        full_name: str,
        *,
        user_agent: str,
        address: str | None = None,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> SignedIn | None:
        """Create an account and sign it in; None when it has to be confirmed by mail first.

        Where addresses are confirmed, a taken one gets the same response after the same time. Where
        they are not, a sign-up either works or doesn't, so a taken address can't be hidden.
        """
        if self._rules.sign_up_mode != "open":
            raise AuthError("signup_disabled", CLOSED[self._rules.sign_up_mode])
        check_new_password(password, email=email, full_name=full_name, product=self._rules.product)
        await self._attempts.count("sign_up", address=address)
        session = await self._sign_up_evenly(
            self._identity.sign_up(
                email, password, full_name, captcha=captcha, redirect_to=redirect_to
            )
        )
        return await self._opened(session, user_agent, "sign_up") if session is not None else None

    async def sign_in(
        self,
        email: str,
        password: str,
        *,
        user_agent: str,
        address: str | None = None,
        captcha: str | None = None,
    ) -> SignedIn:
        """Raises AuthError when the auth server says no, or after too many tries."""
        session = await self._by_password(email, password, address=address, captcha=captcha)
        return await self._opened(session, user_agent, "password")

    async def confirm(self, token_hash: str, kind: LinkKind, *, user_agent: str) -> SignedIn | None:
        """Redeem a mail's link; None when a change of address needs the other mailbox too."""
        session = await self._identity.verify(token_hash, kind)
        return await self._opened(session, user_agent, OPENED_BY[kind]) if session else None

    async def visit_provider(self, provider: str, *, redirect_to: str) -> ProviderVisit:
        """Start a sign-in at a provider. Raises NotFound if the provider isn't set up."""
        if provider not in self._rules.oauth_providers:
            raise NotFound("That sign-in method isn't available.")
        return await self._identity.visit_provider(provider, redirect_to=redirect_to)

    async def return_from_provider(self, code: str, verifier: str, *, user_agent: str) -> SignedIn:
        """Finish a visit. The auth server's own setting decides who may sign up this way: it has
        created the account by now."""
        session = await self._identity.exchange(code, verifier)
        return await self._opened(session, user_agent, "provider")

    async def invite(self, email: str, *, redirect_to: str) -> AuthUser:
        """Create an account and mail its owner a link to it; for the operator only."""
        return await self._identity.invite(email, redirect_to=redirect_to)

    # Mail

    async def mail_reset(
        self,
        email: str,
        *,
        address: str | None = None,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> None:
        """Mail a link to choose a new password, if there is such an account."""
        await self._mail(
            lambda: self._identity.mail_reset(email, captcha=captcha, redirect_to=redirect_to),
            email,
            address,
        )

    async def mail_sign_in(
        self,
        email: str,
        *,
        address: str | None = None,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> None:
        """Mail a sign-in link. It creates an account where sign-up is open."""
        may_sign_up = self._rules.sign_up_mode == "open"
        await self._mail(
            lambda: self._identity.mail_sign_in(
                email, may_sign_up=may_sign_up, captcha=captcha, redirect_to=redirect_to
            ),
            email,
            address,
        )

    async def mail_confirmation(
        self,
        email: str,
        *,
        address: str | None = None,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> None:
        """Resend the link that confirms a sign-up, if one is unconfirmed."""
        await self._mail(
            lambda: self._identity.mail_confirmation(
                email, captcha=captcha, redirect_to=redirect_to
            ),
            email,
            address,
        )

    # The caller's identity

    async def principal(self, cookie_header: str | None) -> Principal:
        """Who is asking, as of now.

        Raises:
            Unauthenticated: no session, or one that is over.
            Unavailable: it can't be determined.
        """
        return await self._live.principal(cookie_header)

    def ended(self, session_ids: Collection[UUID]) -> AsyncGenerator[UUID]:
        """The sessions among these that have ended; see `LiveSessions.ended`."""
        return self._live.ended(session_ids)

    # Change

    async def change_password(
        self,
        principal: Principal,
        new_password: str,
        *,
        current_password: str | None,
        address: str | None = None,
        captcha: str | None = None,
    ) -> None:
        """Choose a password; all other sessions end.

        The current one is needed, except right after a recovery or an invitation.

        Raises:
            AuthError: the new password isn't accepted, or the current one is wrong.
        """
        check_new_password(
            new_password,
            email=principal.email,
            full_name=principal.full_name,
            product=self._rules.product,
        )
        if not principal.recovered:
            await self._prove(principal, current_password, address=address, captcha=captcha)
        access_token = await self._live.access_token(principal)
        await self._identity.change_password(access_token, new_password)
        # If the database is down now, the caller gets an error although the password is changed;
        # the auth server has ended the other sessions, and a recheck detects that.
        async with self._service.transaction() as db:
            await store.revoke_of(db, principal.user_id, but=principal.session_id)
            await store.forget_recovery(db, principal.session_id)
        await self._quietly(self._identity.sign_out(access_token, "others"))

    async def change_address(
        self,
        principal: Principal,
        email: str,
        *,
        current_password: str,
        address: str | None = None,
        captcha: str | None = None,
        redirect_to: str | None = None,
    ) -> bool:
        """Use another address; False when it has to be confirmed by mail first.

        A trigger updates the profile. A signed-in user learns if an address is taken: the auth
        server makes no secret of it here, and attempts are limited.
        """
        await self._attempts.count("mail_from", address=address)
        await self._prove(principal, current_password, address=address, captcha=captcha)
        for mailbox in {principal.email.lower(), email.lower()}:
            await self._attempts.count("mail_to", account=mailbox)
        access_token = await self._live.access_token(principal)
        user = await self._identity.change_address(access_token, email, redirect_to=redirect_to)
        return user.email.lower() == email.lower()

    async def rename(self, principal: Principal, name: str) -> str:
        """Change the displayed name; returns it as stored.

        Raises:
            NameInvalid: too long, or with characters that can't be shown.
            Unavailable: the database does not answer.
        """
        name = " ".join(name.split())
        if len(name) > MAX_NAME or any(unicodedata.category(char) in {"Cc", "Cs"} for char in name):
            raise NameInvalid
        try:
            async with self._user.as_user(principal.user_id) as db:
                await store.rename(db, principal.user_id, name)
        except DependencyError as error:
            raise Unavailable from error
        return name

    # Out

    async def sessions(self, principal: Principal) -> tuple[OwnSession, ...]:
        """The user's live sessions, most recently used first."""
        try:
            async with self._service.transaction() as db:
                rows = await store.sessions_of(db, principal.user_id)
        except DependencyError as error:
            raise Unavailable from error
        return tuple(
            OwnSession(
                id=row["id"],
                device=devices.label(row["user_agent"]),
                opened_by=row["opened_by"],
                created_at=row["created_at"],
                last_seen_at=row["last_seen_at"],
                current=row["id"] == principal.session_id,
            )
            for row in rows
        )

    async def sign_out(self, cookie_header: str | None, scope: Scope = "here") -> None:
        """End this session, all others, or all; here and at the auth server.

        Ending no session is fine, except for `others`, which needs one that stays.
        """
        if scope == "here":
            try:
                live = await self._live.by_cookie(cookie_header)
            except Unauthenticated:
                return
            await self._live.end(live)
            return
        try:
            live = await self._who_ends(cookie_header)
        except Unauthenticated:
            if scope == "everywhere":
                return
            raise
        await self._live.end_many(live, but_this=scope == "others")

    async def end_session(self, cookie_header: str | None, session_id: UUID) -> None:
        """End one session of the user. Raises NotFound when they have no such session."""
        live = await self._who_ends(cookie_header)
        if not await self._live.end_one(live.principal, session_id):
            raise NotFound("That session has already ended.")

    async def _who_ends(self, cookie_header: str | None) -> LiveSession:
        try:
            await self._live.principal(cookie_header)
        except Unavailable:
            # A user who lost a device must be able to sign it out even without the auth server.
            log.warning("sessions are ended without asking the auth server first")
        return await self._live.by_cookie(cookie_header)

    # Their parts

    async def _opened(self, session: AuthSession, user_agent: str, opened_by: OpenedBy) -> SignedIn:
        became_admin = False
        if self._rules.first_account_is_admin and opened_by not in OF_OLD_ACCOUNTS:
            async with self._service.transaction() as db:
                became_admin = await store.make_first_admin(db, session.user.id)
        token = await self._live.open(session, user_agent=user_agent, opened_by=opened_by)
        return SignedIn(token=token, user_id=session.user.id, became_admin=became_admin)

    async def _by_password(
        self, email: str, password: str, *, address: str | None, captcha: str | None
    ) -> AuthSession:
        begun = asyncio.get_running_loop().time()
        # Policy: no sign-in without the limiter, or guessing would be unlimited in the meantime.
        attempt = await self._attempts.count("sign_in", account=email, address=address)
        try:
            session = await self._identity.sign_in(email, password, captcha=captcha)
        except AuthError:
            # An auth server may hash a password only for accounts that exist.
            await self._until_floor(begun)
            raise
        except DependencyError:
            await self._give_back(attempt)
            raise
        await self._give_back(attempt)
        return session

    async def _give_back(self, attempt: Attempt) -> None:
        try:
            await self._attempts.release(attempt)
        except DependencyError:
            # Redis went down in between; the attempt expires by itself.
            log.warning("an attempt was not given back")

    async def _prove(
        self,
        principal: Principal,
        password: str | None,
        *,
        address: str | None,
        captcha: str | None,
    ) -> None:
        """Check the current password again; it counts like a sign-in."""
        if not password:
            raise AuthError("current_password_wrong", WRONG_PASSWORD)
        try:
            session = await self._by_password(
                principal.email, password, address=address, captcha=captcha
            )
        except AuthError as error:
            if error.code == "invalid_credentials":
                raise AuthError("current_password_wrong", WRONG_PASSWORD) from error
            raise
        # The auth server has no other way to check, so this opened a session there.
        await self._quietly(self._identity.sign_out(session.access_token, "local"))
        if session.user.id != principal.user_id:
            raise AuthError("current_password_wrong", WRONG_PASSWORD)

    async def _quietly(self, sign_out: Awaitable[None]) -> None:
        try:
            await sign_out
        except (AuthError, DependencyError) as error:
            log.warning("sign-out not confirmed by the auth server: %s", type(error).__name__)

    async def _mail(
        self, send: Callable[[], Awaitable[None]], email: str, address: str | None
    ) -> None:
        """Policy: no mail without the limiter, or flooding would be unlimited in the meantime."""
        await self._attempts.count("mail_from", address=address)
        begun = asyncio.get_running_loop().time()
        task = self._spawn(self._mail_silently(send, email))
        await asyncio.wait({task}, timeout=FLOOR_SECONDS)
        await self._until_floor(begun)
        if task.done():
            _raise_if_failed(task.result())

    async def _mail_silently(self, send: Callable[[], Awaitable[None]], email: str) -> None:
        try:
            await self._attempts.count("mail_to", account=email)
            await send()
        except AuthError as error:
            if error.code in SAFE_MAIL_ERRORS:
                raise
            log.info("a mail was asked for and not sent: %s", error.code)

    async def _sign_up_evenly(
        self, sign_up: Coroutine[Any, Any, AuthSession | None]
    ) -> AuthSession | None:
        """Takes the same time for a new and a taken address, if both get a mail."""
        begun = asyncio.get_running_loop().time()
        task = self._spawn(sign_up)
        limit = FLOOR_SECONDS if self._confirms_by_mail else None
        await asyncio.wait({task}, timeout=limit)
        if not task.done():
            return None
        result = task.result()
        if isinstance(result, AuthError) and result.code == MAIL_LIMIT:
            # The address signed up a moment ago, which only its owner may know: answer as usual.
            result = None
        _raise_if_failed(result)
        assert not isinstance(result, Exception)
        self._confirms_by_mail = result is None
        if result is None:
            await self._until_floor(begun)
        return result

    async def _until_floor(self, begun: float) -> None:
        passed = asyncio.get_running_loop().time() - begun
        await asyncio.sleep(max(0.0, FLOOR_SECONDS - passed))

    def _spawn(
        self, work: Coroutine[Any, Any, Answer]
    ) -> asyncio.Task[Answer | AuthError | DependencyError]:
        """Work that continues after its caller got a response or went away."""

        async def outcome() -> Answer | AuthError | DependencyError:
            begun = asyncio.get_running_loop().time()
            try:
                return await work
            except (AuthError, DependencyError) as error:
                late = asyncio.get_running_loop().time() - begun > FLOOR_SECONDS
                log.log(logging.WARNING if late else logging.INFO, "mail or sign-up: %s", error)
                return error

        task = asyncio.create_task(outcome())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return task


def _raise_if_failed(result: object) -> None:
    if isinstance(result, (AuthError, DependencyError)):
        raise result
