"""The SQL of alerts for the webhook, from their record to their sending. Days are UTC; times and claims go
by the database's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Tables with the columns of an alert that is sent: state, attempts, next_attempt_at, last_error, sent_at.
Queue = Literal["private.spending_alerts", "private.loss_alerts"]
SPENDING: Queue = "private.spending_alerts"
LOSSES: Queue = "private.loss_alerts"


@dataclass(frozen=True, slots=True)
class DueAlert:
    """An alert that is ours to send until `until`; `row` is what was recorded."""

    queue: Queue
    id: UUID
    attempts: int
    until: datetime
    row: Mapping[str, Any]


async def claim(session: AsyncSession, queue: Queue, lease_seconds: float) -> DueAlert | None:
    """Claim the alert that has been due the longest, or None; other processes skip it."""
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


async def retry_alert(session: AsyncSession, item: str) -> bool:
    """An alert that was given up is due again; False when it isn't given up (any more)."""
    row = await session.execute(
        text(
            "with spending as ("
            "update private.spending_alerts set state = 'pending', attempts = 0,"
            " next_attempt_at = now() where id::text = :item and state = 'dead' returning 1"
            "), losses as ("
            "update private.loss_alerts set state = 'pending', attempts = 0,"
            " next_attempt_at = now() where id::text = :item and state = 'dead' returning 1"
            ") select 1 from spending union all select 1 from losses"
        ),
        {"item": item},
    )
    return row.first() is not None


# Recording --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CapUse:
    """A cap on a day, in USD. `recorded_percent` is the highest line that is recorded for it, or 0."""

    day: date
    scope: str
    cap_usd: Decimal
    spent_usd: Decimal
    reserved_usd: Decimal
    refusing: bool
    recorded_percent: int = 0


async def add_spending(
    session: AsyncSession, use: CapUse, lines: Sequence[int], *, to_webhook: bool
) -> frozenset[int]:
    """Record crossed lines, the highest first: only that one is reported. Returns the new ones."""
    rows = await session.execute(
        text(
            """
            insert into private.spending_alerts (day, scope, cap_usd, percent, spent_usd,
              reserved_usd, refusing, told, state)
            select :day, :scope, :cap_usd, line, :spent_usd, :reserved_usd, :refusing,
              line = :highest,
              case when line = :highest and :to_webhook then 'pending' else 'none' end
            from unnest(cast(:lines as integer[])) line
            on conflict (day, scope, cap_usd, percent) do nothing returning percent
            """
        ),
        {
            "day": use.day,
            "scope": use.scope,
            "cap_usd": use.cap_usd,
            "spent_usd": use.spent_usd,
            "reserved_usd": use.reserved_usd,
            "refusing": use.refusing,
            "lines": list(lines),
            "highest": lines[0],
            "to_webhook": to_webhook,
        },
    )
    return frozenset(rows.scalars())


@dataclass(frozen=True, slots=True)
class LostUsage:
    """The part of a call that no user is charged for."""

    day: date
    reason: str
    model: str
    provider: str
    billed_tokens: int
    charged_tokens: int
    reserved_tokens: int
    lost_usd: Decimal


async def add_loss(session: AsyncSession, lost: LostUsage) -> None:
    """Once a day for each model and reason."""
    await session.execute(
        text(
            """
            insert into private.loss_alerts (day, reason, model, provider, billed_tokens,
              charged_tokens, reserved_tokens, lost_usd)
            values (:day, :reason, :model, :provider, :billed_tokens, :charged_tokens,
              :reserved_tokens, :lost_usd)
            on conflict (day, reason, model) do nothing
            """
        ),
        asdict(lost),
    )
