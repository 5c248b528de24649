"""The SQL of what jobs have set aside: their own list, mails and alerts that were given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class FailedItem:
    """`about` says what it is where the item is only an id."""

    job: str
    item: str
    about: str
    attempts: int
    last_error: str
    last_at: datetime


_SET_ASIDE = """
    select job, item, '' as about, attempts, last_error, last_at
    from private.job_failures where next_attempt_at is null
    union all
    select 'deliver_notices', id::text, kind, attempts, coalesce(last_error, ''), next_attempt_at
    from public.billing_notices where state = 'dead'
    union all
    select 'alert_spending', id::text, scope || ' ' || percent || ' %', attempts,
      coalesce(last_error, ''), next_attempt_at
    from private.spending_alerts where state = 'dead'
    union all
    select 'alert_spending', id::text, model || ' ' || reason, attempts, coalesce(last_error, ''),
      next_attempt_at
    from private.loss_alerts where state = 'dead'
    """
_PAGE = text(
    f"select * from ({_SET_ASIDE}) s order by last_at desc, job, item limit :limit"  # noqa: S608
)
# One statement each; what isn't set aside any more isn't touched.
_RETRY = {
    "deliver_notices": text(
        "update public.billing_notices set state = 'pending', attempts = 0, next_attempt_at = now()"
        " where id::text = :item and state = 'dead' returning 1"
    ),
    "alert_spending": text(
        "with spending as ("
        "update private.spending_alerts set state = 'pending', attempts = 0,"
        " next_attempt_at = now() where id::text = :item and state = 'dead' returning 1"
        "), losses as ("
        "update private.loss_alerts set state = 'pending', attempts = 0,"
        " next_attempt_at = now() where id::text = :item and state = 'dead' returning 1"
        ") select 1 from spending union all select 1 from losses"
    ),
}
_RETRY_OTHERS = text(
    "update private.job_failures set attempts = 1, next_attempt_at = now()"
    " where job = :job and item = :item and next_attempt_at is null returning 1"
)


async def set_aside(session: AsyncSession, *, limit: int) -> Sequence[FailedItem]:
    """The newest first."""
    rows = await session.execute(_PAGE, {"limit": limit})
    return [FailedItem(**row) for row in rows.mappings()]


async def retry(session: AsyncSession, job: str, item: str) -> bool:
    """False when it isn't set aside (any more)."""
    row = await session.execute(_RETRY.get(job, _RETRY_OTHERS), {"job": job, "item": item})
    return row.first() is not None
