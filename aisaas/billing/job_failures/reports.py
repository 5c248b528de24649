"""The SQL of items that jobs set aside: their own list, and mails and alerts that were given up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.billing.notices.alert_delivery_store import retry_alert
from aisaas.billing.notices.relations import GIVEN_UP
from aisaas.billing.notices.store import retry_mail
from aisaas.db.engine import PipelinedQuery, Row


@dataclass(frozen=True, slots=True)
class FailedItem:
    """`about` describes the item if it is only an id."""

    job: str
    item: str
    about: str
    attempts: int
    last_error: str
    last_at: datetime


_SET_ASIDE = f"""
    select job, item, '' as about, attempts, last_error, last_at
    from private.job_failures where next_attempt_at is null
    union all
    select job, item, about, attempts, last_error, last_at from {GIVEN_UP} g
    """  # noqa: S608  # a relation of ours
_PAGE = text(
    f"select * from ({_SET_ASIDE}) s order by last_at desc, job, item limit :limit"  # noqa: S608
)
_RETRY = text(
    "update private.job_failures set attempts = 1, next_attempt_at = now()"
    " where job = :job and item = :item and next_attempt_at is null returning 1"
)
# Jobs that keep what they have given up themselves.
_KEPT_ELSEWHERE = {"deliver_notices": retry_mail, "alert_spending": retry_alert}


async def set_aside(session: AsyncSession, *, limit: int) -> Sequence[FailedItem]:
    """The newest first."""
    rows = await session.execute(_PAGE, {"limit": limit})
    return [FailedItem(**row) for row in rows.mappings()]


async def retry(session: AsyncSession, job: str, item: str) -> bool:
    """False when it isn't set aside (any more)."""
    if (elsewhere := _KEPT_ELSEWHERE.get(job)) is not None:
        return await elsewhere(session, item)
    row = await session.execute(_RETRY, {"job": job, "item": item})
    return row.first() is not None


async def failed_items(session: AsyncSession, job: str, items: Collection[str]) -> frozenset[str]:
    """Those of them that have failed, and weren't done since."""
    rows = await session.execute(
        text("select item from private.job_failures where job = :job and item = any(:items)"),
        {"job": job, "items": list(items)},
    )
    return frozenset(rows.scalars())


def counts() -> PipelinedQuery[Row]:
    """Metrics over all users and processes."""
    query: LiteralString = """
        select count(*) as items_set_aside
        from private.job_failures where next_attempt_at is null
        """
    return PipelinedQuery(((query, {}),), lambda answers: answers[0][0])
