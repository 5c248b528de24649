"""Sessions from start to end, and who is calling.

Every handler and route calls `principal`. It reads the session row each time, and asks the auth
server again when its last answer is older than RECHECK_SECONDS, so a ban, a deletion or a sign-out
elsewhere takes effect within a minute.

Outages: without the database no caller can be identified, so calls are refused as `unavailable`.
Without the auth server, users it vouched for within TRUST_SECONDS go on; then `unavailable`. Ending
sessions needs only the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import TypeVar
from uuid import UUID

from aisaas.accounts import store
from aisaas.accounts.models import OpenedBy, Principal
from aisaas.accounts.ports import AuthSession, Identity, SignOutScope
from aisaas.accounts.sessions import (
    SESSION_LIFETIME_SECONDS,
    TokenCipher,
    hash_token,
    new_token,
    token_from,
)
from aisaas.accounts.store import HeldTokens, LiveSession, NewSession
from aisaas.db.engine import PipelinedQuery, both
from aisaas.db.service import ServiceDatabase
from aisaas.errors import AuthError, DependencyError, TooSlow, Unauthenticated, Unavailable
from aisaas.observe import context

log = logging.getLogger(__name__)

T = TypeVar("T")
# Another domain's query about the user whose session has a token with this hash.
AskedAlong = Callable[[bytes], PipelinedQuery[T]]

RECHECK_SECONDS = 30
TRUST_SECONDS = 60
SEEN_SECONDS = 60
# An access token that is about to expire is renewed before it is used.
REFRESH_AHEAD_SECONDS = 30
REFRESH_CLAIM_SECONDS = 10.0
REFRESH_POLL_SECONDS = 0.1
# How many sessions a job has the auth server check at once.
CHECKS_AT_ONCE = 8
# How long a session from a recovery or an invitation may choose a password.
RECOVERED_SECONDS = 15 * 60
RECOVERS: frozenset[OpenedBy] = frozenset({"recovery", "invite"})


class LiveSessions:
    """The sessions of this instance."""

    def __init__(
        self,
        database: ServiceDatabase,
        identity: Identity,
        cipher: TokenCipher,
        *,
        cookie: str,
    ) -> None:
        self._database = database
        self._identity = identity
        self._cipher = cipher
        self._cookie = cookie
        # Verifications under way, by session: callers of one session share one.
        self._checks: dict[UUID, asyncio.Task[None]] = {}

    # Opening

    async def open(self, session: AuthSession, *, user_agent: str, opened_by: OpenedBy) -> str:
        """Store a sign-in; returns the cookie's value.

        Always a new token: one known before the sign-in must not become valid.
        """
        token = new_token()
        async with self._database.transaction() as db:
            await store.add_session(
                db,
                NewSession(
                    token_hash=hash_token(token),
                    user_id=session.user.id,
                    access_token=self._cipher.seal(session.access_token),
                    refresh_token=self._cipher.seal(session.refresh_token),
                    access_expires_at=session.expires_at,
                    user_agent=user_agent,
                    opened_by=opened_by,
                    lifetime_seconds=SESSION_LIFETIME_SECONDS,
                    recovered_seconds=RECOVERED_SECONDS if opened_by in RECOVERS else 0,
                ),
            )
        return token

    # The caller's identity

    async def principal(self, cookie_header: str | None) -> Principal:
        """Who is asking, as of now.

        Raises:
            Unauthenticated: no session, or one that is over.
            Unavailable: it can't be determined.
        """
        principal, _ = await self.principal_and(cookie_header, _nothing)
        return principal

    async def principal_and(
        self, cookie_header: str | None, along: AskedAlong[T]
    ) -> tuple[Principal, T]:
        """Who is asking, and what `along` reads of them in the same round trip.

        Raises:
            Unauthenticated, Unavailable: as for `principal`.
        """
        token_hash = self._token_hash(cookie_header)
        live, more = await self._by_token(token_hash, along)
        context.add(user=live.principal.user_id)
        if live.verified_seconds_ago >= RECHECK_SECONDS:
            await self._check_once(live)
            live, more = await self._by_token(token_hash, along)
        if live.seen_seconds_ago >= SEEN_SECONDS:
            await self._note_seen(live.principal.session_id)
        return live.principal, more

    async def by_cookie(self, cookie_header: str | None) -> LiveSession:
        """The session as the database knows it, without asking the auth server."""
        live, _ = await self._by_token(self._token_hash(cookie_header), _nothing)
        return live

    async def access_token(self, principal: Principal) -> str:
        """A token of this session that isn't about to expire."""
        live = await self._by_id(principal.session_id)
        if live.access_expires_in < REFRESH_AHEAD_SECONDS:
            await self._check_once(live)
            live = await self._by_id(principal.session_id)
        token = self._cipher.open(live.access_token)
        if token is None:
            raise Unauthenticated
        return token

    async def ended(self, session_ids: Collection[UUID]) -> AsyncGenerator[UUID]:
        """The sessions among these that have ended or whose account is suspended.

        Our own database comes first; then the auth server checks users it has not vouched for
        lately. While either is down its part is skipped: an outage ends no session.
        """
        try:
            found = await self._find(session_ids)
        except DependencyError:
            log.warning("sessions not looked at: the database does not answer")
            return
        good = [live for live in found if not live.principal.suspended]
        for gone in set(session_ids) - {live.principal.session_id for live in good}:
            yield gone
        gate = asyncio.Semaphore(CHECKS_AT_ONCE)
        checks = [
            asyncio.create_task(self._ended_there(live, gate))
            for live in good
            if live.verified_seconds_ago >= RECHECK_SECONDS
        ]
        try:
            for check in asyncio.as_completed(checks):
                if (gone := await check) is not None:
                    yield gone
        finally:
            for check in checks:
                check.cancel()

    async def _ended_there(self, live: LiveSession, gate: asyncio.Semaphore) -> UUID | None:
        async with gate:
            try:
                await self._check_once(live)
            except Unauthenticated:
                return live.principal.session_id
            except (Unavailable, DependencyError):
                log.warning("a session not looked at: the auth server does not answer")
            except Exception:
                # A failure of this session must not block the others.
                log.exception("session %s could not be looked at", live.principal.session_id)
        return None

    # Ending

    async def end(self, live: LiveSession) -> None:
        """End one session, here and at the auth server."""
        async with self._database.transaction() as db:
            await store.revoke(db, live.principal.session_id)
        await self._end_there(live, "local")

    async def end_one(self, principal: Principal, session_id: UUID) -> bool:
        """End a session of the same user; False when they have no such session."""
        found = await self._find([session_id])
        theirs = [live for live in found if live.principal.user_id == principal.user_id]
        for live in theirs:
            await self.end(live)
        return bool(theirs)

    async def end_many(self, live: LiveSession, *, but_this: bool) -> None:
        """End all of the user's sessions, or all the others, here and at the auth server."""
        principal = live.principal
        async with self._database.transaction() as db:
            await store.revoke_of(
                db, principal.user_id, but=principal.session_id if but_this else None
            )
        await self._end_there(live, "others" if but_this else "global")

    async def end_everywhere_there(self, held: Sequence[HeldTokens]) -> bool:
        """End all sessions of a user at the auth server, after the sessions of these tokens were
        revoked here; returns whether it confirmed. Any one of the tokens ends all."""
        for each in held:
            if await self._end_there(each, "global"):
                return True
        return not held

    async def _end_there(self, live: LiveSession | HeldTokens, scope: SignOutScope) -> bool:
        """Our sessions are revoked already, which is what denies access; so a failure is only logged,
        and False is returned."""
        try:
            access_token = self._cipher.open(live.access_token)
            if live.access_expires_in < REFRESH_AHEAD_SECONDS and scope != "others":
                # The session is over, so nothing else renews its token, and an expired one ends nothing.
                refresh_token = self._cipher.open(live.refresh_token)
                if refresh_token is not None:
                    access_token = (await self._identity.refresh(refresh_token)).access_token
            if access_token is None:
                return False
            await self._identity.sign_out(access_token, scope)
        except (AuthError, DependencyError) as error:
            log.warning(
                "sign-out (%s) not confirmed by the auth server: %s", scope, type(error).__name__
            )
            return False
        return True

    # Looking after them

    async def _find(self, session_ids: Collection[UUID]) -> Sequence[LiveSession]:
        return await self._database.ask(store.find_sessions(session_ids), durable=False)

    def _token_hash(self, cookie_header: str | None) -> bytes:
        token = token_from(cookie_header, self._cookie)
        if token is None:
            raise Unauthenticated
        return hash_token(token)

    async def _by_token(self, token_hash: bytes, along: AskedAlong[T]) -> tuple[LiveSession, T]:
        question = both(
            store.find_session(token_hash), along(token_hash), lambda live, more: (live, more)
        )
        try:
            live, more = await self._database.ask(question, durable=False)
        except DependencyError as error:
            raise Unavailable from error
        if live is None:
            raise Unauthenticated
        return live, more

    async def _by_id(self, session_id: UUID) -> LiveSession:
        try:
            found = await self._find([session_id])
        except DependencyError as error:
            raise Unavailable from error
        if not found:
            raise Unauthenticated
        return found[0]

    async def _note_seen(self, session_id: UUID) -> None:
        try:
            async with self._database.transaction(durable=False) as db:
                await store.mark_seen(db, session_id)
        except (DependencyError, TooSlow):
            # Only shown in a list, so no reason to refuse a call.
            log.warning("last use of a session not noted")

    async def _check_once(self, live: LiveSession) -> None:
        session_id = live.principal.session_id
        task = self._checks.get(session_id)
        if task is None:
            task = asyncio.create_task(self._check(live))
            self._checks[session_id] = task
            task.add_done_callback(lambda done: self._forget_check(session_id, done))
        try:
            # Shielded: the others wait for it too, even if this caller goes away.
            await asyncio.shield(task)
        except DependencyError as error:
            if live.verified_seconds_ago >= TRUST_SECONDS:
                raise Unavailable from error

    def _forget_check(self, session_id: UUID, task: asyncio.Task[None]) -> None:
        self._checks.pop(session_id, None)
        if not task.cancelled():
            # Retrieved here too: the caller that waited for it may be gone.
            task.exception()

    async def _check(self, live: LiveSession) -> None:
        session_id = live.principal.session_id
        access_token = self._cipher.open(live.access_token)
        try:
            if access_token is None:
                raise AuthError("bad_jwt", "sealed with another SESSION_SECRET")
            if live.access_expires_in < REFRESH_AHEAD_SECONDS:
                await self._refresh(session_id)
                return
            user = await self._identity.get_user(access_token)
            if user.id != live.principal.user_id:
                raise AuthError("bad_jwt", "the token belongs to another user")
        except AuthError as error:
            log.info("session ended by the auth server: %s", error.code)
            async with self._database.transaction() as db:
                await store.revoke(db, session_id)
            raise Unauthenticated from error
        async with self._database.transaction(durable=False) as db:
            await store.mark_verified(db, session_id)

    async def _refresh(self, session_id: UUID) -> None:
        """Renew the tokens once across all processes; those that lose the claim wait for the winner."""
        deadline = asyncio.get_running_loop().time() + REFRESH_CLAIM_SECONDS
        while True:
            async with self._database.transaction() as db:
                claimed = await store.claim_refresh(db, session_id, REFRESH_CLAIM_SECONDS)
            current = await self._by_id(session_id)
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
        if renewed.user.id != current.principal.user_id:
            raise AuthError("bad_jwt", "the token belongs to another user")
        async with self._database.transaction() as db:
            await store.store_tokens(
                db,
                session_id,
                access_token=self._cipher.seal(renewed.access_token),
                refresh_token=self._cipher.seal(renewed.refresh_token),
                access_expires_at=renewed.expires_at,
            )


def _nothing(_: bytes) -> PipelinedQuery[None]:
    return PipelinedQuery((), lambda _: None)
