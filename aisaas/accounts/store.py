"""All of the accounts' SQL. Sessions are private to the server, so these run as the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.models import Principal
from aisaas.db.engine import Question, Row

FIRST_ACCOUNT = "first account of an embedded install"


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that is neither revoked nor expired, with its principal as of now."""

    principal: Principal
    access_token: bytes
    refresh_token: bytes
    # Seconds by the database's clock, so that no process's clock matters.
    verified_seconds_ago: float
    access_expires_in: float


_FIND: LiteralString = """
    select s.id as session_id, s.access_token, s.refresh_token,
      extract(epoch from clock_timestamp() - s.verified_at)::float8 as verified_seconds_ago,
      extract(epoch from s.access_expires_at - clock_timestamp())::float8 as access_expires_in,
      p.id as user_id, p.email, p.full_name, p.avatar_url, p.role, p.plan, p.subscription_status,
      p.suspended_at is not null as suspended,
      p.requests_per_minute, p.requests_per_day, p.tokens_per_month,
      p.stripe_customer_id as metered_customer,
      coalesce((select array_agg(k.scope) from private.kill_switches k), '{}') as switches
    from private.sessions s join public.profiles p on p.id = s.user_id
    where s.token_hash = %(token_hash)s and s.revoked_at is null and s.expires_at > now()
    """
_SESSION_ONLY = (
    "access_token",
    "refresh_token",
    "verified_seconds_ago",
    "access_expires_in",
)


def find_session(token_hash: bytes) -> Question[LiveSession | None]:
    return Question(((_FIND, {"token_hash": token_hash}),), _live_session)


def _live_session(answers: Sequence[Sequence[Row]]) -> LiveSession | None:
    [rows] = answers
    if not rows:
        return None
    row: dict[str, Any] = dict(rows[0])
    own = {name: row.pop(name) for name in _SESSION_ONLY}
    row["switches"] = frozenset(row["switches"])
    return LiveSession(Principal(**row), **own)


async def add_session(
    session: AsyncSession,
    *,
    token_hash: bytes,
    user_id: UUID,
    access_token: bytes,
    refresh_token: bytes,
    access_expires_at: datetime,
    user_agent: str,
    lifetime_seconds: int,
) -> None:
    await session.execute(
        text(
            """
            insert into private.sessions (token_hash, user_id, access_token, refresh_token,
              access_expires_at, user_agent, expires_at)
            values (:token_hash, :user_id, :access_token, :refresh_token, :access_expires_at,
              :user_agent, now() + make_interval(secs => :lifetime))
            """
        ),
        {
            "token_hash": token_hash,
            "user_id": user_id,
            "access_token": access_token,
            "refresh_token": refresh_token,
            "access_expires_at": access_expires_at,
            "user_agent": user_agent[:400],
            "lifetime": lifetime_seconds,
        },
    )


async def mark_verified(session: AsyncSession, session_id: UUID) -> None:
    await session.execute(
        text(
            "update private.sessions set verified_at = clock_timestamp(),"
            " last_seen_at = clock_timestamp() where id = :id"
        ),
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
              last_seen_at = clock_timestamp(), refresh_claimed_until = null
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


async def make_first_admin(session: AsyncSession, user_id: UUID) -> bool:
    """Make this account an admin if none ever was. True when it became one."""
    # Of simultaneous sign-ups the lock's first holder wins. Counting accounts instead would leave
    # none: by now, each of them may see the other's.
    await session.execute(text("select pg_advisory_xact_lock(hashtext('aisaas.first_admin'))"))
    row = await session.execute(
        text(
            """
            update public.profiles set role = 'admin'
            where id = :user_id
              and not exists (select 1 from public.profiles where role = 'admin')
              and not exists (select 1 from public.audit_log where reason = :reason)
            returning 1
            """
        ),
        {"user_id": user_id, "reason": FIRST_ACCOUNT},
    )
    if row.first() is None:
        return False
    await session.execute(
        text(
            """
            insert into public.audit_log (actor, action, subject, before, after, reason)
            values ('system', 'role.set', :subject, '{"role": "user"}', '{"role": "admin"}',
              :reason)
            """
        ),
        {"subject": f"user:{user_id}", "reason": FIRST_ACCOUNT},
    )
    return True
