"""The SQL of the audit log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.audit.models import AuditEntry
from aisaas.db.paging import Cursor, Keyset, Moment, Page
from aisaas.db.search import literally


async def audit(
    session: AsyncSession,
    *,
    actor: str,
    action: str,
    subject: str,
    before: object,
    after: object,
    reason: str,
) -> None:
    await session.execute(
        text(
            "insert into public.audit_log (actor, action, subject, before, after, reason)"
            " values (:actor, :action, :subject, cast(:before as jsonb), cast(:after as jsonb),"
            " :reason)"
        ),
        {
            "actor": actor,
            "action": action,
            "subject": subject,
            "before": json.dumps(before),
            "after": json.dumps(after),
            "reason": reason,
        },
    )


_ENTRY = "a.id, a.actor, a.action, a.subject, a.before, a.after, a.reason, a.created_at"
_PAGED: Keyset[AuditEntry, datetime, UUID] = Keyset(
    "a.created_at", "a.id", lambda entry: Cursor(entry.created_at, entry.id)
)
_NEWEST, _BEFORE = _PAGED.page, _PAGED.behind
# Same expression as the index. Searches don't contain the separator, so a match is within one column.
_WORDS = "(a.actor || chr(10) || a.action || chr(10) || a.subject || chr(10) || a.reason)"
_ALL_ENTRIES = text(f"select {_ENTRY} from public.audit_log a where {_BEFORE} {_NEWEST}")  # noqa: S608  # fragments of this module
# Each search uses an index of its own, and yields at most a page. A user's entries are found first and
# then ordered: scanning all from the newest on takes long for a user who has none.
_ENTRIES_BY = f"""
    select * from (
      select {_ENTRY} from public.audit_log a where a.{{side}} = people.name and {_BEFORE} offset 0
    ) a {_NEWEST}
    """  # noqa: S608  # fragments of this module
_FOUND_ENTRIES = f"""
    with people as materialized (select 'user:' || id as name from ({{people}}) p), found as (
      (select {_ENTRY} from public.audit_log a
        where {_WORDS} ilike :pattern and {_BEFORE} {_NEWEST})
      union
      select a.* from people cross join lateral ({_ENTRIES_BY.format(side="actor")}) a
      union
      select a.* from people cross join lateral ({_ENTRIES_BY.format(side="subject")}) a
    )
    select * from found a {_NEWEST}
    """  # noqa: S608  # fragments of this module


async def audit_entries(
    session: AsyncSession,
    *,
    search: str,
    people: tuple[str, Mapping[str, object]],
    before: Moment | None,
    limit: int,
) -> Page[AuditEntry, datetime, UUID]:
    """Newest first, those older than `before`.

    Args:
        people: a statement that finds the ids of accounts that fit the search, and its values.
    """
    values = _PAGED.values(before, limit)
    if not search:
        rows = await session.execute(_ALL_ENTRIES, values)
    else:
        found, more = people
        rows = await session.execute(
            text(_FOUND_ENTRIES.format(people=found)),
            {**values, "pattern": f"%{literally(search)}%", **more},
        )
    return _PAGED.cut([AuditEntry(**row) for row in rows.mappings()], limit)


async def entries_about(session: AsyncSession, subject: str, *, limit: int) -> Sequence[AuditEntry]:
    """Newest first."""
    rows = await session.execute(
        text(
            f"select {_ENTRY} from public.audit_log a where a.subject = :subject"  # noqa: S608  # a fragment of this module
            " order by a.created_at desc, a.id limit :limit"
        ),
        {"subject": subject, "limit": limit},
    )
    return [AuditEntry(**row) for row in rows.mappings()]


async def has_reason(session: AsyncSession, reason: str) -> bool:
    """Whether anything was ever done for exactly this reason."""
    rows = await session.execute(
        text("select exists (select from public.audit_log where reason = :reason)"),
        {"reason": reason},
    )
    return bool(rows.scalar_one())
