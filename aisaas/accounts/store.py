"""All of the accounts' SQL. Sessions are private to the server, so these run as the service."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.models import OpenedBy, Principal
from aisaas.audit import store as audit_store
from aisaas.db.engine import PipelinedQuery, Row
from aisaas.db.search import address_has, address_pattern

FIRST_ACCOUNT = "first account of an embedded install"


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that is neither revoked nor expired, with its principal as of now."""

    principal: Principal
    access_token: bytes
    refresh_token: bytes
    # Seconds by the database's clock, so that no process's clock matters.
    verified_seconds_ago: float
    seen_seconds_ago: float
    access_expires_in: float


_LIVE: LiteralString = """
    select s.id as session_id, s.access_token, s.refresh_token,
      extract(epoch from clock_timestamp() - s.verified_at)::float8 as verified_seconds_ago,
      extract(epoch from clock_timestamp() - s.last_seen_at)::float8 as seen_seconds_ago,
      extract(epoch from s.access_expires_at - clock_timestamp())::float8 as access_expires_in,
      coalesce(s.recovered_until > clock_timestamp(), false) as recovered,
      p.id as user_id, p.email, p.full_name, p.avatar_url, p.role,
      p.suspended_at is not null as suspended
    from private.sessions s join public.profiles p on p.id = s.user_id
    where s.revoked_at is null and s.expires_at > now()
    """
_SESSION_ONLY = (
    "access_token",
    "refresh_token",
    "verified_seconds_ago",
    "seen_seconds_ago",
    "access_expires_in",
)


def find_session(token_hash: bytes) -> PipelinedQuery[LiveSession | None]:
    query: LiteralString = _LIVE + " and s.token_hash = %(token_hash)s"
    return PipelinedQuery(
        ((query, {"token_hash": token_hash}),),
        lambda answers: _live(answers[0][0]) if answers[0] else None,
    )


def find_sessions(ids: Collection[UUID]) -> PipelinedQuery[list[LiveSession]]:
    """Those of the sessions that are live."""
    query: LiteralString = _LIVE + " and s.id = any(%(ids)s)"
    return PipelinedQuery(
        ((query, {"ids": list(ids)}),), lambda answers: [_live(row) for row in answers[0]]
    )


def _live(found: Row) -> LiveSession:
    row: dict[str, Any] = dict(found)
    own = {name: row.pop(name) for name in _SESSION_ONLY}
    return LiveSession(Principal(**row), **own)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be stored. Tokens are sealed; `recovered_seconds` is 0 for most."""

    token_hash: bytes
    user_id: UUID
    access_token: bytes
    refresh_token: bytes
    access_expires_at: datetime
    user_agent: str
    opened_by: OpenedBy
    lifetime_seconds: int
    recovered_seconds: int


async def add_session(session: AsyncSession, new: NewSession) -> None:
    await session.execute(
        text(
            """
            insert into private.sessions (token_hash, user_id, access_token, refresh_token,
              access_expires_at, user_agent, opened_by, expires_at, recovered_until)
            values (:token_hash, :user_id, :access_token, :refresh_token, :access_expires_at,
              :user_agent, :opened_by, now() + make_interval(secs => :lifetime),
              case when :recovered > 0 then now() + make_interval(secs => :recovered) end)
            """
        ),
        {
            "token_hash": new.token_hash,
            "user_id": new.user_id,
            "access_token": new.access_token,
            "refresh_token": new.refresh_token,
            "access_expires_at": new.access_expires_at,
            "user_agent": new.user_agent[:400],
            "opened_by": new.opened_by,
            "lifetime": new.lifetime_seconds,
            "recovered": new.recovered_seconds,
        },
    )


async def sessions_of(session: AsyncSession, user_id: UUID) -> Sequence[RowMapping]:
    """The user's live sessions, the one used last first."""
    rows = await session.execute(
        text(
            """
            select id, user_agent, opened_by, created_at, last_seen_at from private.sessions
            where user_id = :user_id and revoked_at is null and expires_at > now()
            order by last_seen_at desc, created_at desc
            """
        ),
        {"user_id": user_id},
    )
    return rows.mappings().all()


async def mark_verified(session: AsyncSession, session_id: UUID) -> None:
    await session.execute(
        text("update private.sessions set verified_at = clock_timestamp() where id = :id"),
        {"id": session_id},
    )


async def mark_seen(session: AsyncSession, session_id: UUID) -> None:
    await session.execute(
        text("update private.sessions set last_seen_at = clock_timestamp() where id = :id"),
        {"id": session_id},
    )


async def claim_refresh(session: AsyncSession, session_id: UUID, seconds: float) -> bool:
    """True for the one caller that may refresh now; the claim lapses by itself."""
    row = await session.execute(
        text(
            """
            update private.sessions
            set refresh_claimed_until = clock_timestamp() + make_interval(secs => :seconds)
            where id = :id and revoked_at is null
              and (refresh_claimed_until is null or refresh_claimed_until < clock_timestamp())
            returning 1
            """
        ),
        {"id": session_id, "seconds": seconds},
    )
    return row.first() is not None


async def store_tokens(
    session: AsyncSession,
    session_id: UUID,
    *,
    access_token: bytes,
    refresh_token: bytes,
    access_expires_at: datetime,
) -> None:
    await session.execute(
        text(
            """
            update private.sessions
            set access_token = :access_token, refresh_token = :refresh_token,
              access_expires_at = :access_expires_at, verified_at = clock_timestamp(),
              refresh_claimed_until = null
            where id = :id
            """
        ),
        {
            "id": session_id,
            "access_token": access_token,
            "refresh_token": refresh_token,
            "access_expires_at": access_expires_at,
        },
    )


async def drop_claim(session: AsyncSession, session_id: UUID) -> None:
    await session.execute(
        text("update private.sessions set refresh_claimed_until = null where id = :id"),
        {"id": session_id},
    )


async def revoke(session: AsyncSession, session_id: UUID) -> None:
    await session.execute(
        text(
            "update private.sessions set revoked_at = now() where id = :id and revoked_at is null"
        ),
        {"id": session_id},
    )


async def revoke_of(session: AsyncSession, user_id: UUID, *, but: UUID | None = None) -> None:
    """End all of a user's sessions, or all but one."""
    await session.execute(
        text(
            "update private.sessions set revoked_at = now() where user_id = :user_id"
            " and revoked_at is null and id is distinct from :but"
        ),
        {"user_id": user_id, "but": but},
    )


@dataclass(frozen=True, slots=True)
class HeldTokens:
    """The sealed tokens of a session; with them it can be ended at the auth server too."""

    access_token: bytes
    refresh_token: bytes
    access_expires_in: float


async def revoke_all_of(session: AsyncSession, user_id: UUID) -> Sequence[HeldTokens]:
    """End all of a user's sessions; what those that were live hold, the one renewed last first."""
    rows = await session.execute(
        text(
            """
            with ended as (
              update private.sessions set revoked_at = now()
              where user_id = :user_id and revoked_at is null
              returning access_token, refresh_token, access_expires_at, expires_at
            )
            select access_token, refresh_token,
              extract(epoch from access_expires_at - clock_timestamp())::float8 as access_expires_in
            from ended where expires_at > now() order by access_expires_at desc
            """
        ),
        {"user_id": user_id},
    )
    return [HeldTokens(**row) for row in rows.mappings()]


async def forget_recovery(session: AsyncSession, session_id: UUID) -> None:
    await session.execute(
        text("update private.sessions set recovered_until = null where id = :id"),
        {"id": session_id},
    )


async def rename(session: AsyncSession, user_id: UUID, name: str) -> None:
    await session.execute(
        text("update public.profiles set full_name = :name where id = :id"),
        {"name": name, "id": user_id},
    )


async def put_picture(
    session: AsyncSession,
    user_id: UUID,
    *,
    version: str,
    content: bytes,
    content_type: str,
    address: str,
) -> None:
    """Store a picture, replacing any earlier one."""
    # First, because it locks the profile's row: of two at once, the one that stays is the one named.
    await _set_picture_address(session, user_id, address)
    await session.execute(
        text("delete from public.profile_pictures where user_id = :id"), {"id": user_id}
    )
    await session.execute(
        text(
            "insert into public.profile_pictures (user_id, version, content, content_type)"
            " values (:id, :version, :content, :type)"
        ),
        {"id": user_id, "version": version, "content": content, "type": content_type},
    )


async def remove_picture(session: AsyncSession, user_id: UUID) -> None:
    await _set_picture_address(session, user_id, None)
    await session.execute(
        text("delete from public.profile_pictures where user_id = :id"), {"id": user_id}
    )


async def _set_picture_address(session: AsyncSession, user_id: UUID, address: str | None) -> None:
    await session.execute(
        text("update public.profiles set avatar_url = :address where id = :id"),
        {"address": address, "id": user_id},
    )


async def find_picture(session: AsyncSession, user_id: UUID) -> tuple[bytes, str] | None:
    row = await session.execute(
        text("select content, content_type from public.profile_pictures where user_id = :id"),
        {"id": user_id},
    )
    found = row.first()
    return (bytes(found[0]), str(found[1])) if found is not None else None


async def make_first_admin(session: AsyncSession, user_id: UUID) -> bool:
    """Make this account an admin if none ever was. True when it became one."""
    # The lock's first holder wins among simultaneous sign-ups. Counting accounts instead would leave
    # none: by now, each of them may see the other's.
    await session.execute(text("select pg_advisory_xact_lock(hashtext('aisaas.first_admin'))"))
    if await audit_store.has_reason(session, FIRST_ACCOUNT):
        return False
    row = await session.execute(
        text(
            """
            update public.profiles set role = 'admin'
            where id = :user_id
              and not exists (select 1 from public.profiles where role = 'admin')
            returning 1
            """
        ),
        {"user_id": user_id},
    )
    if row.first() is None:
        return False
    await audit_store.audit(
        session,
        actor="system",
        action="role.set",
        subject=f"user:{user_id}",
        before={"role": "user"},
        after={"role": "admin"},
        reason=FIRST_ACCOUNT,
    )
    return True


async def lock_user(session: AsyncSession, user_id: UUID) -> datetime | None:
    """Lock a user until the transaction ends. Returns the database's time, or None without such a
    user."""
    rows = await session.execute(
        text("select now() from public.profiles where id = :id for key share"), {"id": user_id}
    )
    return rows.scalar_one_or_none()


async def user_by_email(session: AsyncSession, email: str) -> UUID | None:
    rows = await session.execute(
        text("select id from public.profiles where lower(email) = lower(:email)"), {"email": email}
    )
    return rows.scalar_one_or_none()


async def hold_admin(session: AsyncSession, user_id: UUID) -> bool:
    """Whether they are an admin in good standing; they stay one until the transaction ends."""
    rows = await session.execute(
        text(
            "select 1 from public.profiles"
            " where id = :id and role = 'admin' and suspended_at is null for share"
        ),
        {"id": user_id},
    )
    return rows.first() is not None


async def names_of(session: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, str]:
    """The addresses of those of them that have an account."""
    rows = await session.execute(
        text("select id, email from public.profiles where id = any(:ids)"), {"ids": list(user_ids)}
    )
    return {row[0]: row[1] for row in rows}


_BY_ADDRESS = f"""
    select p.id from public.profiles p where {address_has("p.email")}
    order by lower(p.email), p.id limit :people
    """  # noqa: S608  # a condition of ours
_COUNTED = text(f"select count(*) from ({_BY_ADDRESS}) p")  # noqa: S608  # a fragment of this module


def ids_by_address(words: str, *, most: int) -> tuple[str, Mapping[str, object]]:
    """A query for accounts whose address contains these words, and its values."""
    return _BY_ADDRESS, address_pattern(words) | {"people": most}


async def more_fit(session: AsyncSession, words: str, *, than: int) -> bool:
    """Whether more accounts than so many have an address with these words."""
    _, values = ids_by_address(words, most=than + 1)
    return int((await session.execute(_COUNTED, {**values})).scalar_one()) > than
