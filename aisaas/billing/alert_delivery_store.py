"""The SQL of sending recorded alerts to the webhook. Times and claims go by the database's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Tables with the columns of an alert that is sent: state, attempts, next_attempt_at, last_error, sent_at.
Queue = Literal["private.spending_alerts", "private.loss_alerts"]


@dataclass(frozen=True, slots=True)
class DueAlert:
    """An alert that is ours to send until `until`; `row` is what was recorded."""

    queue: Queue
    id: UUID
    attempts: int
    until: datetime
    row: Mapping[str, Any]


async def claim(session: AsyncSession, queue: Queue, lease_seconds: float) -> DueAlert | None:
    """The alert that has been due for the longest, or None; other processes skip it."""
    rows = await session.execute(
        text(
            f"""
            with due as (
              select id from {queue}
              where state = 'pending' and next_attempt_at <= now()
              order by next_attempt_at, created_at limit 1 for update skip locked
            )
            update {queue} a
            set next_attempt_at = now() + make_interval(secs => :lease)
            from due where a.id = due.id
            returning a.*
            """  # noqa: S608
        ),
        {"lease": lease_seconds},
    )
    found = rows.mappings().one_or_none()
    if found is None:
        return None
    row: dict[str, Any] = dict(found)
    return DueAlert(queue, row["id"], row["attempts"], row["next_attempt_at"], row)


async def note_sent(session: AsyncSession, due: DueAlert) -> None:
    """Also when the claim has expired: the alert was sent."""
    await session.execute(
        text(
            f"""
            update {due.queue} set state = 'sent', sent_at = now(), last_error = null
            where id = :id and state = 'pending'
            """  # noqa: S608
        ),
        {"id": due.id},
    )


async def put_off(
    session: AsyncSession,
    due: DueAlert,
    error: str,
    *,
    seconds: float,
    refused: bool,
    dead: bool,
) -> None:
    """Due again in `seconds`, or never; `refused` counts as an attempt.

    Does nothing if another process has claimed it since.
    """
    await session.execute(
        text(
            f"""
            update {due.queue}
            set next_attempt_at = now() + make_interval(secs => :seconds), last_error = :error,
              attempts = attempts + :refused, state = case when :dead then 'dead' else state end
            where id = :id and state = 'pending' and next_attempt_at = :until
            """  # noqa: S608
        ),
        {
            "id": due.id,
            "until": due.until,
            "error": error,
            "seconds": seconds,
            "refused": int(refused),
            "dead": dead,
        },
    )
