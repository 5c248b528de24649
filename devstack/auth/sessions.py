"""Sessions and their refresh tokens: opened, renewed, ended."""

from dataclasses import dataclass, fields
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from devstack.auth import users
from devstack.auth.database import Connection, Row
from devstack.auth.errors import SESSION_NOT_FOUND, USER_BANNED, AuthError
from devstack.auth.services import Services
from devstack.auth.tokens import digest, new_token
from devstack.auth.users import User

# A client whose answer got lost, or two tabs at once, may present a used token for this long.
REUSE_SECONDS = 10
# How often a token can have been renewed within that time, generously.
LONGEST_CHAIN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    id: UUID
    user_id: UUID
    method: str
    created_at: datetime
    factor_id: UUID | None
    factor_verified_at: datetime | None

    @property
    def claims(self) -> dict[str, Any]:
        """How sure the server is of who this is, and from what; the latest proof first."""
        proofs = [(self.method, self.created_at)]
        if self.factor_id and self.factor_verified_at:
            proofs.insert(0, ("totp", self.factor_verified_at))
        return {
            "aal": "aal2" if self.factor_id else "aal1",
            "amr": [{"method": method, "timestamp": int(at.timestamp())} for method, at in proofs],
        }


def _session(row: Row) -> Session:
    return Session(**{field.name: row[field.name] for field in fields(Session)})


def _refused(code: str, message: str) -> AuthError:
    return AuthError(HTTPStatus.BAD_REQUEST, code, f"Invalid Refresh Token: {message}")


def _already_used() -> AuthError:
    return _refused("refresh_token_already_used", "Already Used")


async def open_session(
    services: Services, connection: Connection, user_id: UUID, *, method: str, user_agent: str
) -> dict[str, Any]:
    """A new session of the user, as the API shows it."""
    user = await users.touch_sign_in(connection, user_id)
    cursor = await connection.execute(
        "insert into auth.sessions (user_id, method, user_agent) values (%s, %s, %s) returning *",
        [user_id, method, user_agent],
    )
    row = await cursor.fetchone()
    assert row
    session, refresh_token = _session(row), new_token()
    await _keep_token(connection, session.id, refresh_token)
    return await _session_json(services, connection, user, session, refresh_token)


async def lift(
    services: Services, connection: Connection, user: User, session_id: UUID, *, factor_id: UUID
) -> dict[str, Any]:
    """The session at aal2, with new tokens; its earlier refresh token is used up.

    Raises `AuthError` 403 when the session has ended meanwhile.
    """
    cursor = await connection.execute(
        "update auth.sessions set factor_id = %s, factor_verified_at = now(), updated_at = now()"
        " where id = %s returning *",
        [factor_id, session_id],
    )
    row = await cursor.fetchone()
    if row is None:
        raise AuthError(HTTPStatus.FORBIDDEN, *SESSION_NOT_FOUND)
    await connection.execute(
        "update auth.refresh_tokens set revoked_at = clock_timestamp()"
        " where session_id = %s and revoked_at is null",
        [session_id],
    )
    refresh_token = new_token()
    await _keep_token(connection, session_id, refresh_token)
    return await _session_json(services, connection, user, _session(row), refresh_token)


async def renew(services: Services, presented: str) -> dict[str, Any]:
    """Exchange a refresh token for new tokens of the same session. Raises `AuthError` 400."""
    async with services.database.transaction() as connection:
        outcome = await _renew(services, connection, presented)
    # Raised outside, so that ending a session over a stolen token is committed.
    if isinstance(outcome, AuthError):
        raise outcome
    return outcome


async def _renew(
    services: Services, connection: Connection, presented: str
) -> dict[str, Any] | AuthError:
    presented_hash = digest(presented)
    # The session's row is the lock: the second request sees what the first one did.
    cursor = await connection.execute(
        """
        select * from auth.sessions where id =
          (select session_id from auth.refresh_tokens where token_hash = %s)
        for update
        """,
        [presented_hash],
    )
    row = await cursor.fetchone()
    if row is None:
        return _refused("refresh_token_not_found", "Refresh Token Not Found")
    session = _session(row)
    user = await users.by_id(connection, session.user_id)
    if user is None or user.banned:
        return _refused(USER_BANNED[0], "User Banned")
    cursor = await connection.execute(
        """
        select id, revoked_at is null as live,
          revoked_at > clock_timestamp() - make_interval(secs => %s) as just_used
        from auth.refresh_tokens where token_hash = %s
        """,
        [REUSE_SECONDS, presented_hash],
    )
    token = await cursor.fetchone()
    assert token
    if token["live"]:
        await connection.execute(
            "update auth.refresh_tokens set revoked_at = clock_timestamp() where id = %s",
            [token["id"]],
        )
        current = services.keyring.successor(presented)
        await _keep_token(connection, session.id, current)
    elif token["just_used"]:
        current = await _live_successor(services, connection, session.id, presented)
    else:
        await end(connection, session.user_id, only=session.id)
        return _already_used()
    await connection.execute(
        "update auth.sessions set refreshed_at = now(), updated_at = now() where id = %s",
        [session.id],
    )
    return await _session_json(services, connection, user, session, current)


async def _live_successor(
    services: Services, connection: Connection, session_id: UUID, presented: str
) -> str:
    cursor = await connection.execute(
        "select token_hash from auth.refresh_tokens where session_id = %s and revoked_at is null",
        [session_id],
    )
    row = await cursor.fetchone()
    candidate = presented
    for _ in range(LONGEST_CHAIN):
        candidate = services.keyring.successor(candidate)
        if row and digest(candidate) == bytes(row["token_hash"]):
            return candidate
    raise _already_used()


async def find(connection: Connection, session_id: UUID, user_id: UUID) -> Session | None:
    cursor = await connection.execute(
        "select * from auth.sessions where id = %s and user_id = %s", [session_id, user_id]
    )
    row = await cursor.fetchone()
    return _session(row) if row else None


async def end(
    connection: Connection,
    user_id: UUID,
    *,
    only: UUID | None = None,
    but: UUID | None = None,
) -> None:
    """End all of a user's sessions, or one, or all but one. Their refresh tokens go with them."""
    await connection.execute(
        """
        delete from auth.sessions where user_id = %(user)s
          and (%(only)s::uuid is null or id = %(only)s)
          and (%(but)s::uuid is null or id <> %(but)s)
        """,
        {"user": user_id, "only": only, "but": but},
    )


async def _keep_token(connection: Connection, session_id: UUID, refresh_token: str) -> None:
    await connection.execute(
        "insert into auth.refresh_tokens (token_hash, session_id) values (%s, %s)",
        [digest(refresh_token), session_id],
    )


async def _session_json(
    services: Services, connection: Connection, user: User, session: Session, refresh_token: str
) -> dict[str, Any]:
    claims = {
        "sub": str(user.id),
        "email": user.email or "",
        "phone": user.phone or "",
        "app_metadata": user.raw_app_meta_data or {},
        "user_metadata": user.raw_user_meta_data or {},
        "role": user.role or "authenticated",
        **session.claims,
        "session_id": str(session.id),
        "is_anonymous": user.is_anonymous,
    }
    access_token, expires_at = services.keyring.sign(claims, ttl=services.config.jwt_ttl)
    return {
        "access_token": access_token,
        "token_type": "bearer",
        "expires_in": services.config.jwt_ttl,
        "expires_at": expires_at,
        "refresh_token": refresh_token,
        "user": (await users.shown(connection, user))[0],
    }
