"""The SQL of mailing notices. A claim is a lease by the database's clock: it ends by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.relations import PROFILES
from aisaas.db.engine import PipelinedQuery, Row


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice that is ours to mail until `until`. Without an `address` it is for the admins.

    `attempts` is how often a mail server has put it off.
    """

    id: UUID
    kind: str
    values: Mapping[str, object]
    attempts: int
    address: str | None
    until: datetime


async def claim(session: AsyncSession, lease_seconds: float) -> Claimed | None:
    """Claim the notice that has been due the longest, or None; other processes skip it."""
    rows = await session.execute(
        text(
            f"""
            with due as (
              select id from public.billing_notices
              where state = 'pending' and next_attempt_at <= now()
              order by next_attempt_at, created_at limit 1
              for update skip locked
            )
            update public.billing_notices n
            set next_attempt_at = now() + make_interval(secs => :lease)
            from due where n.id = due.id
            returning n.id, n.kind, n.values, n.attempts, n.next_attempt_at as until,
              (select p.email from {PROFILES} p where p.id = n.user_id) as address
            """  # noqa: S608  # a relation of ours
        ),
        {"lease": lease_seconds},
    )
    found = rows.mappings().one_or_none()
    return Claimed(**found) if found else None


async def hand_to_admins(session: AsyncSession, notice: Claimed) -> int:
    """Split it into one notice per admin, mailed like any other; returns the number of admins.

    Without admins it stays as it is.
    """
    made = await session.execute(
        text(
            f"""
            with copies as (
              insert into public.billing_notices (user_id, kind, key, values)
              select p.id, n.kind, 'admin:' || p.id || ':' || n.id, n.values
              from public.billing_notices n cross join {PROFILES} p
              where n.id = :id and n.state = 'pending' and p.role = 'admin'
              on conflict (key) do nothing returning id
            ), handed as (
              update public.billing_notices set state = 'sent', sent_at = now(), last_error = null
              where id = :id and state = 'pending' and exists (select 1 from copies)
            )
            select count(*) from copies
            """  # noqa: S608  # a relation of ours
        ),
        {"id": notice.id},
    )
    return int(made.scalar_one())


async def note_sent(session: AsyncSession, notice: Claimed) -> None:
    """Written even if another process holds the claim by now: it is a fact."""
    await session.execute(
        text(
            """
            update public.billing_notices
            set state = 'sent', sent_at = now(), last_error = null
            where id = :id and state = 'pending'
            """
        ),
        {"id": notice.id},
    )


async def note_dead(session: AsyncSession, notice: Claimed, error: str) -> None:
    """Never retry it. Does nothing if another process has a newer claim."""
    await session.execute(
        text(
            """
            update public.billing_notices
            set state = 'dead', attempts = attempts + 1, last_error = :error
            where id = :id and state = 'pending' and next_attempt_at = :until
            """
        ),
        {"id": notice.id, "until": notice.until, "error": error},
    )


async def put_off(
    session: AsyncSession, notice: Claimed, error: str, *, seconds: float, refused: bool
) -> None:
    """Due again in `seconds`; `refused` counts as an attempt. Does nothing under a newer claim."""
    await session.execute(
        text(
            """
            update public.billing_notices
            set next_attempt_at = now() + make_interval(secs => :seconds),
              attempts = attempts + :refused, last_error = :error
            where id = :id and state = 'pending' and next_attempt_at = :until
            """
        ),
        {
            "id": notice.id,
            "until": notice.until,
            "error": error,
            "seconds": seconds,
            "refused": int(refused),
        },
    )


async def retry_mail(session: AsyncSession, item: str) -> bool:
    """A mail that was given up is due again; False when it isn't given up (any more)."""
    row = await session.execute(
        text(
            "update public.billing_notices set state = 'pending', attempts = 0,"
            " next_attempt_at = now() where id::text = :item and state = 'dead' returning 1"
        ),
        {"item": item},
    )
    return row.first() is not None


def counts() -> PipelinedQuery[Row]:
    """Metrics over all users and processes."""
    query: LiteralString = """
        select
          (select count(*) from public.billing_notices where state = 'pending') as mails_pending,
          (select coalesce(extract(epoch from now() - min(next_attempt_at)), 0)::double precision
            from public.billing_notices where state = 'pending' and next_attempt_at < now())
            as mails_lag_seconds,
          (select count(*) from public.billing_notices where state = 'dead')
            + (select count(*) from private.spending_alerts where state = 'dead')
            + (select count(*) from private.loss_alerts where state = 'dead') as notices_given_up
        """
    return PipelinedQuery(((query, {}),), lambda answers: answers[0][0])
