"""The SQL of the provider's events. All of it runs as the service; its time is the database's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class WebhookHealth:
    """Events that failed and weren't handled since, the oldest's age, and those handled in a day."""

    failed: int
    oldest_seconds: float | None
    handled_lately: int
    unknown_lately: int


@dataclass(frozen=True, slots=True)
class WebhookEntry:
    """An event. `status` is its outcome, or failed; `failures` are tries that were rolled back, and
    `error` the code of the last of them; `at` is when it was handled, or failed last."""

    id: str
    type: str
    status: str
    note: str | None
    customer: str | None
    subscription: str | None
    error: str | None
    failures: int
    first_failed_at: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class WebhookFailed:
    type: str
    error: str


async def webhook_health(session: AsyncSession) -> WebhookHealth:
    rows = await session.execute(
        text(
            """
            select
              (select count(*) from public.webhook_failures where resolved_at is null) as failed,
              (select extract(epoch from now() - min(first_at))::double precision
                from public.webhook_failures where resolved_at is null) as oldest_seconds,
              count(*) as handled_lately,
              count(*) filter (where outcome in ('unknown_customer', 'unknown_price', 'stale'))
                as unknown_lately
            from public.processed_webhook_events where created_at > now() - interval '1 day'
            """
        )
    )
    return WebhookHealth(**rows.mappings().one())


async def webhook_entries(
    session: AsyncSession,
    *,
    failed: bool,
    search: str,
    before: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[WebhookEntry]:
    """Newest first, those older than `before`."""
    rows = await session.execute(
        text(
            """
            (
              select e.id, e.type, e.outcome as status, e.note, e.customer_id as customer,
                e.subscription_id as subscription, f.last_error as error,
                coalesce(f.attempts, 0) as failures, f.first_at as first_failed_at,
                e.created_at as at
              from public.processed_webhook_events e
                left join public.webhook_failures f on f.event_id = e.id
              where not :failed
                and (:search = '' or starts_with(e.id, :search) or starts_with(e.type, :search)
                  or starts_with(e.customer_id, :search)
                  or starts_with(e.subscription_id, :search))
                and (cast(:at as timestamptz) is null
                  or (e.created_at, e.id) < (cast(:at as timestamptz), :id))
              order by e.created_at desc, e.id desc limit :limit
            )
            union all
            (
              select f.event_id, f.type, 'failed', null, null, null, f.last_error, f.attempts,
                f.first_at, f.last_at
              from public.webhook_failures f
              where f.resolved_at is null
                and (:search = '' or starts_with(f.event_id, :search)
                  or starts_with(f.type, :search))
                and (cast(:at as timestamptz) is null
                  or (f.last_at, f.event_id) < (cast(:at as timestamptz), :id))
              order by f.last_at desc, f.event_id desc limit :limit
            )
            order by at desc, id desc limit :limit
            """
        ),
        {
            "failed": failed,
            "search": search,
            "at": before[0] if before else None,
            "id": before[1] if before else "",
            "limit": limit,
        },
    )
    return [WebhookEntry(**row) for row in rows.mappings()]


async def webhook_failure(session: AsyncSession, event_id: str) -> WebhookFailed | None:
    rows = await session.execute(
        text("select type, last_error as error from public.webhook_failures where event_id = :id"),
        {"id": event_id},
    )
    row = rows.mappings().one_or_none()
    return WebhookFailed(**row) if row else None


async def webhook_outcome(session: AsyncSession, event_id: str) -> str | None:
    rows = await session.execute(
        text("select outcome from public.processed_webhook_events where id = :id"),
        {"id": event_id},
    )
    return rows.scalar_one_or_none()
