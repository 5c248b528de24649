"""The SQL of the provider's events. All of it runs as the service; its time is the database's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.db.paging import Cursor, Keyset, Page


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


def _place(entry: WebhookEntry) -> Cursor[datetime, str]:
    return Cursor(entry.at, entry.id)


def _by(at: LiteralString, id_: LiteralString) -> Keyset[WebhookEntry, datetime, str]:
    return Keyset(at, id_, _place, ("timestamptz", "text"))


_HANDLED = _by("e.created_at", "e.id")
_FAILED = _by("f.last_at", "f.event_id")
_BOTH = _by("at", "id")


async def webhook_entries(
    session: AsyncSession,
    *,
    failed: bool,
    search: str,
    before: Cursor[datetime, str] | None,
    limit: int,
) -> Page[WebhookEntry, datetime, str]:
    """Newest first, those older than `before`."""
    rows = await session.execute(
        text(
            f"""
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
                and {_HANDLED.behind}
              {_HANDLED.page}
            )
            union all
            (
              select f.event_id, f.type, 'failed', null, null, null, f.last_error, f.attempts,
                f.first_at, f.last_at
              from public.webhook_failures f
              where f.resolved_at is null
                and (:search = '' or starts_with(f.event_id, :search)
                  or starts_with(f.type, :search))
                and {_FAILED.behind}
              {_FAILED.page}
            )
            {_BOTH.page}
            """  # noqa: S608  # text of ours
        ),
        {
            "failed": failed,
            "search": search,
            **_BOTH.values(before, limit),
        },
    )
    return _BOTH.cut([WebhookEntry(**row) for row in rows.mappings()], limit)


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
