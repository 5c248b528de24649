"""Sign-up, sign-in, sign-out, and who is asking.

`principal` is asked on every handler and route. The session row is read each time; the auth server
is asked again when its last answer is older than RECHECK_SECONDS, so a ban, a deletion or a
sign-out elsewhere shows within a minute.

Outages: without the database nobody can be told apart, so calls are refused as `unavailable`.
Without the auth server, whoever it vouched for within TRUST_SECONDS goes on; then `unavailable`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from uuid import UUID

from aisaas.accounts import store
from aisaas.accounts.models import Principal
from aisaas.accounts.sessions import (
    SESSION_LIFETIME_SECONDS,
    TokenCipher,
    hash_token,
    new_token,
    token_from,
)
from aisaas.accounts.store import LiveSession
from aisaas.db.service import ServiceDatabase
from aisaas.errors import AuthError, DependencyError, Unauthenticated, Unavailable
from aisaas.ports import AuthSession, Identity

log = logging.getLogger(__name__)

RECHECK_SECONDS = 30
TRUST_SECONDS = 60
# An access token that is about to expire is renewed before it is used.
REFRESH_AHEAD_SECONDS = 30
REFRESH_CLAIM_SECONDS = 10.0
REFRESH_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What sign-in gives the route: the cookie's value, and whose it is."""

    token: str
    user_id: UUID
    became_admin: bool = False


class Accounts:
    """The accounts of this instance."""

    def __init__(
        self,
        database: ServiceDatabase,
        identity: Identity,
        cipher: TokenCipher,
        *,
        cookie: str,
        first_account_is_admin: bool,
    ) -> None:
        self._database = database
        self._identity = identity
        self._cipher = cipher
        self._cookie = cookie
        self._first_account_is_admin = first_account_is_admin
        # Verifications under way, by session: callers of one session share one.
        self._checks: dict[UUID, asyncio.Task[None]] = {}

    async def sign_up(
        self, email: str, password: str, full_name: str, *, user_agent: str
    ) -> SignedIn | None:
        """Make an account and sign it in; None when a mail has to be answered first."""
        session = await self._identity.sign_up(email, password, full_name)
        if session is None:
            return None
        became_admin = False
        if self._first_account_is_admin:
            async with self._database.transaction() as db:
                became_admin = await store.make_first_admin(db, session.user.id)
        return await self._open(session, user_agent, became_admin=became_admin)

    async def sign_in(self, email: str, password: str, *, user_agent: str) -> SignedIn:
        """Raises AuthError when the auth server says no."""
        return await self._open(await self._identity.sign_in(email, password), user_agent)

    async def sign_out(self, cookie_header: str | None) -> None:
        """End the session here and at the auth server. Ending no session is fine."""
        token = token_from(cookie_header, self._cookie)
        if token is None:
            return
        live = await self._database.ask(store.find_session(hash_token(token)), durable=False)
        if live is None:
            return
        async with self._database.transaction() as db:
            await store.revoke(db, live.principal.session_id)
        access_token = self._cipher.open(live.access_token)
        if access_token is None:
            return
        try:
            await self._identity.sign_out(access_token)
        except (AuthError, DependencyError) as error:
            # Ours is revoked, which is what guards the door; theirs lapses by itself.
            log.warning("sign-out not confirmed by the auth server: %s", type(error).__name__)

    async def principal(self, cookie_header: str | None) -> Principal:
        """Who is asking, as of now.

        Raises:
            Unauthenticated: no session, or one that is over.
            Unavailable: it can't be told.
        """
        token = token_from(cookie_header, self._cookie)
        if token is None:
            raise Unauthenticated
        token_hash = hash_token(token)
        live = await self._find(token_hash)
        if live.verified_seconds_ago < RECHECK_SECONDS:
            return live.principal
        await self._check_once(live, token_hash)
        return (await self._find(token_hash)).principal

    async def _find(self, token_hash: bytes) -> LiveSession:
        try:
            live = await self._database.ask(store.find_session(token_hash), durable=False)
        except DependencyError as error:
            raise Unavailable from error
        if live is None:
            raise Unauthenticated
        return live

    async def _check_once(self, live: LiveSession, token_hash: bytes) -> None:
        session_id = live.principal.session_id
        task = self._checks.get(session_id)
        if task is None:
            task = asyncio.create_task(self._check(live, token_hash))
            self._checks[session_id] = task
            task.add_done_callback(lambda _: self._checks.pop(session_id, None))
        try:
            # Shielded: the others wait for it too, even if this caller goes away.
            await asyncio.shield(task)
        except DependencyError as error:
            if live.verified_seconds_ago >= TRUST_SECONDS:
                raise Unavailable from error

    async def _check(self, live: LiveSession, token_hash: bytes) -> None:
        session_id = live.principal.session_id
        access_token = self._cipher.open(live.access_token)
        try:
            if access_token is None:
                raise AuthError("bad_jwt", "sealed with another SESSION_SECRET")
            if live.access_expires_in < REFRESH_AHEAD_SECONDS:
                await self._refresh(live, token_hash)
                return
            await self._identity.get_user(access_token)
        except AuthError as error:
            log.info("session ended by the auth server: %s", error.code)
            async with self._database.transaction() as db:
                await store.revoke(db, session_id)
            raise Unauthenticated from error
        async with self._database.transaction(durable=False) as db:
            await store.mark_verified(db, session_id)

    async def _refresh(self, live: LiveSession, token_hash: bytes) -> None:
        """Renew the tokens once over all processes; whoever loses the claim waits for the winner."""
        session_id = live.principal.session_id
        deadline = asyncio.get_running_loop().time() + REFRESH_CLAIM_SECONDS
        while True:
            async with self._database.transaction() as db:
                claimed = await store.claim_refresh(db, session_id, REFRESH_CLAIM_SECONDS)
            current = await self._find(token_hash)
            if current.access_expires_in >= REFRESH_AHEAD_SECONDS:
                if claimed:
                    async with self._database.transaction() as db:
                        await store.drop_claim(db, session_id)
                return
            if claimed:
                break
            if asyncio.get_running_loop().time() > deadline:
                raise DependencyError("auth")
            await asyncio.sleep(REFRESH_POLL_SECONDS)
        refresh_token = self._cipher.open(current.refresh_token)
        if refresh_token is None:
            raise AuthError("refresh_token_not_found", "sealed with another SESSION_SECRET")
        try:
            renewed = await self._identity.refresh(refresh_token)
        except DependencyError:
            async with self._database.transaction() as db:
                await store.drop_claim(db, session_id)
            raise
        async with self._database.transaction() as db:
            await store.store_tokens(
                db,
                session_id,
                access_token=self._cipher.seal(renewed.access_token),
                refresh_token=self._cipher.seal(renewed.refresh_token),
                access_expires_at=renewed.expires_at,
            )

    async def _open(
        self, session: AuthSession, user_agent: str, *, became_admin: bool = False
    ) -> SignedIn:
        # Always a new token: a session id that was known before the sign-in is worth nothing.
        token = new_token()
        async with self._database.transaction() as db:
            await store.add_session(
                db,
                token_hash=hash_token(token),
                user_id=session.user.id,
                access_token=self._cipher.seal(session.access_token),
                refresh_token=self._cipher.seal(session.refresh_token),
                access_expires_at=session.expires_at,
                user_agent=user_agent,
                lifetime_seconds=SESSION_LIFETIME_SECONDS,
            )
        return SignedIn(token=token, user_id=session.user.id, became_admin=became_admin)
