"""Metrics that page an operator and that no single process knows: they are read from the database.

Each owner counts its own, and each count reads a partial index, however long the tables are.

Outage: without the database there are no metrics, which is reported as such and never as zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from aisaas.billing.job_failures import reports as job_failures
from aisaas.billing.metering import outbox_store, reconcile_store
from aisaas.billing.notices import store as notices_store
from aisaas.billing.reservations import store as reservations_store
from aisaas.billing.subscriptions import store as subscriptions_store
from aisaas.controls import store as controls_store
from aisaas.db.engine import PipelinedQuery, Row, both
from aisaas.db.service import ServiceDatabase


@dataclass(frozen=True, slots=True)
class Counts:
    """As of now, by the database's clock."""

    running_replies: int
    abandoned_calls: int
    outbox_pending: int
    outbox_parked: int
    outbox_dead: int
    outbox_lag_seconds: float
    webhook_failures_open: int
    mails_pending: int
    mails_lag_seconds: float
    meter_drift_tokens: float
    switches_engaged: int
    job_items_set_aside: int


class Figures:
    """Counts over all users and processes, in one round trip."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database
        self._counts = reduce(
            _merged,
            (
                reservations_store.counts(),
                outbox_store.counts(),
                reconcile_store.counts(),
                subscriptions_store.counts(),
                notices_store.counts(),
                job_failures.counts(),
                controls_store.counts(),
            ),
        )

    async def read(self) -> Counts:
        """Raises DependencyError."""
        found: dict[str, Any] = {**await self._database.ask(self._counts)}
        aside = found.pop("items_set_aside") + found.pop("notices_given_up")
        return Counts(**found, job_items_set_aside=aside)


def _merged(first: PipelinedQuery[Row], second: PipelinedQuery[Row]) -> PipelinedQuery[Row]:
    return both(first, second, _with)


def _with(some: Mapping[str, Any], more: Mapping[str, Any]) -> Row:
    return {**some, **more}
