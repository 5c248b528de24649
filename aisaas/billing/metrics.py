"""What an operator is paged for and what no single process knows: it is read from the database.

Outage: without the database there are no figures, which is told as such and never as zeros.
"""

from __future__ import annotations

from aisaas.billing import metrics_store as store
from aisaas.billing.metrics_store import Counts
from aisaas.db.service import ServiceDatabase


class Figures:
    """Counts over all users and processes."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    async def read(self) -> Counts:
        """Raises DependencyError."""
        return await self._database.ask(store.read())
