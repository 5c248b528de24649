"""What providers may bill beyond what was charged, for admins. Settling a call records it
(billing/ledger/losses.py); nothing changes it.

Outage: without the database nothing is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aisaas.accounts.admin_access import Actor, admin_read
from aisaas.billing.ledger import loss_reports as store
from aisaas.billing.ledger.loss_reports import UsageLost
from aisaas.db.paging import first
from aisaas.db.service import ServiceDatabase

PAGE_CALLS = 50


@dataclass(frozen=True, slots=True)
class LossPage:
    """The newest first; `more` when there are others."""

    found: Sequence[UsageLost]
    more: bool


class UsageLosses:
    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    async def page(self, actor: Actor, *, limit: int = PAGE_CALLS) -> LossPage:
        """Raises NotFound, Unavailable."""
        async with admin_read(self._database, actor) as session:
            found = await store.newest(session, limit=limit + 1)
        return LossPage(*first(found, limit))
