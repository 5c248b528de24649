"""Items that jobs set aside after their last retry failed. Admins see them and retry them.

A retry only makes an item due again; the job processes it, and sets it aside again if it still fails.

Outage: without the database nothing is shown or retried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aisaas.accounts.admin_access import Actor, admin_read, admin_write
from aisaas.billing.job_failures import reports as store
from aisaas.billing.job_failures.reports import FailedItem
from aisaas.db.paging import first
from aisaas.db.service import ServiceDatabase
from aisaas.errors import ActionInvalid

PAGE_ITEMS = 50


@dataclass(frozen=True, slots=True)
class FailedPage:
    """The newest first; `more` when there are others."""

    found: Sequence[FailedItem]
    more: bool


class FailedJobs:
    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    async def page(self, actor: Actor, *, limit: int = PAGE_ITEMS) -> FailedPage:
        """Raises NotFound, Unavailable."""
        async with admin_read(self._database, actor) as session:
            found = await store.set_aside(session, limit=limit + 1)
        return FailedPage(*first(found, limit))

    async def retry(self, actor: Actor, job: str, item: str, *, reason: str) -> None:
        """Make an item due again.

        Raises:
            NotFound: not an admin.
            ActionInvalid: no reason, or the item isn't set aside.
            Unavailable: the database does not answer.
        """
        async with admin_write(self._database, actor, reason) as act:
            if not await store.retry(act.session, job, item):
                raise ActionInvalid("That item isn't set aside. Reload the list.")
            await act.note(
                "job.retry",
                f"job:{job}:{item}",
                before={"set_aside": True},
                after={"set_aside": False},
            )
