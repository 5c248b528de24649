"""The SQL of the audit log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.audit.models import AuditEntry
from aisaas.db.search import address_has, address_pattern, literally

# Accounts whose entries an audit search looks for; beyond that, more of the address has to be typed.
MOST_PEOPLE = 1_000


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
_NEWEST = "order by a.created_at desc, a.id desc limit :limit"
_BEFORE = "(cast(:at as timestamptz) is null or (a.created_at, a.id) < (:at, cast(:id as uuid)))"
# Same expression as the index. Searches don't contain the separator, so a match is within one column.
_WORDS = "(a.actor || chr(10) || a.action || chr(10) || a.subject || chr(10) || a.reason)"
_ALL_ENTRIES = text(f"select {_ENTRY} from public.audit_log a where {_BEFORE} {_NEWEST}")  # noqa: S608  # fragments of this module
# Each way to find entries is answered by an index of its own, and yields no more than a page.
_PEOPLE = f"""
    select p.id from public.profiles p where {address_has("p.email")}
    order by lower(p.email), p.id limit :people
    """  # noqa: S608  # fragments of this module
# One's entries are found first and ordered then: reading all from the newest on, as if some of one's
# had to come soon, takes long where there are none.
_ENTRIES_BY = f"""
    select * from (
      select {_ENTRY} from public.audit_log a where a.{{side}} = people.name and {_BEFORE} offset 0
    ) a {_NEWEST}
    """  # noqa: S608  # fragments of this module
_FOUND_ENTRIES = text(
    f"""
    with people as materialized (select 'user:' || id as name from ({_PEOPLE}) p), found as (
      (select {_ENTRY} from public.audit_log a
        where {_WORDS} ilike :pattern and {_BEFORE} {_NEWEST})
      union
      select a.* from people cross join lateral ({_ENTRIES_BY.format(side="actor")}) a
      union
      select a.* from people cross join lateral ({_ENTRIES_BY.format(side="subject")}) a
    )
    select * from found a {_NEWEST}
    """  # noqa: S608  # fragments of this module
)
_PEOPLE_COUNTED = text(f"select count(*) from ({_PEOPLE}) p")  # noqa: S608  # a fragment of this module


async def audit_entries(
    session: AsyncSession, *, search: str, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[AuditEntry]:
    """Newest first, those older than `before`. Of the accounts whose address fits, the first
    MOST_PEOPLE are looked for."""
    values: dict[str, object] = {
        "limit": limit,
        "at": before[0] if before else None,
        "id": before[1] if before else None,
    }
    if not search:
        rows = await session.execute(_ALL_ENTRIES, values)
    else:
        values |= {"pattern": f"%{literally(search)}%", "people": MOST_PEOPLE}
        rows = await session.execute(_FOUND_ENTRIES, values | address_pattern(search))
    return [AuditEntry(**row) for row in rows.mappings()]


async def too_many_people(session: AsyncSession, search: str) -> bool:
    """Whether more accounts fit than are looked for."""
    values = address_pattern(search) | {"people": MOST_PEOPLE + 1}
    return int((await session.execute(_PEOPLE_COUNTED, values)).scalar_one()) > MOST_PEOPLE
