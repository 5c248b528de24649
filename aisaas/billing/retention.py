"""Removes what money's records no longer need: events that were handled, failures that were resolved,
mails that were sent or given up, differences that were put right.

Invariant: `KEPT_DAYS` is longer than the provider redelivers an event or shows it (30 days), since
these rows are what keeps an event from being handled twice, and a fact from being mailed twice. What
still waits for somebody stays, however old. The ledger, the outbox and the audit log are kept.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.db.service import ServiceDatabase

KEPT_DAYS = 90
# Rows of one transaction, so that none holds its locks for long.
BATCH = 1000

_OLD = (
    ("processed_webhook_events", "created_at < {long_ago}"),
    ("webhook_failures", "resolved_at < {long_ago}"),
    ("billing_notices", "state <> 'pending' and created_at < {long_ago}"),
    ("entitlement_differences", "corrected_at < {long_ago}"),
)


class Retention:
    """Any process may purge, for all of them."""

    def __init__(self, service: ServiceDatabase) -> None:
        self._service = service

    async def purge(self) -> int:
        """How many rows that removed. Raises DependencyError without the database; what was removed
        by then stays so."""
        removed = 0
        for table, old in _OLD:
            while batch := await self._purge_some(table, old):
                removed += batch
        return removed

    async def _purge_some(self, table: str, old: str) -> int:
        async with self._service.transaction() as session:
            return await _delete(session, table, old.format(long_ago=_LONG_AGO))


_LONG_AGO = "now() - make_interval(days => :days)"


async def _delete(session: AsyncSession, table: str, old: str) -> int:
    rows = await session.execute(
        text(
            f"""
            with gone as (
              delete from public.{table} where ctid = any(array(
                select ctid from public.{table} where {old} limit :batch for update skip locked
              )) returning 1
            )
            select count(*) from gone
            """  # noqa: S608  # names of this module
        ),
        {"days": KEPT_DAYS, "batch": BATCH},
    )
    return int(rows.scalar_one())
