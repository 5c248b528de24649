"""Sends recorded alerts to the webhook, at least once and with the same id each time.

Outage: while the webhook's server is down, alerts wait as long as it takes. An alert is dropped only
after the server has rejected it REFUSALS times.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from aisaas.billing.job_failures.failures import name_of
from aisaas.billing.notices import alert_delivery_store as store
from aisaas.billing.notices.alert_delivery_store import DueAlert, Queue
from aisaas.billing.ports import Alert, AlertSink
from aisaas.db.service import ServiceDatabase
from aisaas.errors import AlertError, DependencyError
from aisaas.observe.metrics import JOB_ITEMS_FAILED

log = logging.getLogger(__name__)

REFUSALS = 5
LEASE_SECONDS = 60.0
AWAY_SECONDS = 30.0
# An alert that was refused: after 1, 4, 16 and 64 minutes.
PUT_OFF_SECONDS = 60.0
PUT_OFF_FACTOR = 4


class AlertDelivery:
    """Args: `alert_of` makes the alert of what was recorded."""

    def __init__(
        self,
        service: ServiceDatabase,
        sink: AlertSink | None,
        queue: Queue,
        alert_of: Callable[[DueAlert], Alert],
    ) -> None:
        self._service = service
        self._sink = sink
        self._queue: Queue = queue
        self._alert_of = alert_of

    async def deliver_once(self) -> int:
        """Send the webhook everything that is due; how many it took.

        Raises:
            DependencyError: the database or the webhook's server is away; the rest waits.
        """
        if self._sink is None:
            return 0
        sent = 0
        while (due := await self._claim()) is not None:
            sent += await self._deliver(self._sink, due)
        return sent

    async def _claim(self) -> DueAlert | None:
        async with self._service.transaction() as session:
            return await store.claim(session, self._queue, LEASE_SECONDS)

    async def _deliver(self, sink: AlertSink, due: DueAlert) -> bool:
        try:
            await sink.send(self._alert_of(due))
        except AlertError as error:
            await self._put_off(due, str(error), refused=error.refused)
            if not error.refused:
                # The next one would fare no better.
                raise
            return False
        except DependencyError:
            raise
        except Exception as error:
            # One alert that can't be sent must not stop the others.
            log.exception("alert %s could not be sent", due.id)
            JOB_ITEMS_FAILED.labels("alert_spending").inc()
            await self._put_off(due, name_of(error), refused=True)
            return False
        async with self._service.transaction() as session:
            await store.note_sent(session, due)
        return True

    async def _put_off(self, due: DueAlert, error: str, *, refused: bool) -> None:
        dead = refused and due.attempts + 1 >= REFUSALS
        if dead:
            log.error("alert %s is given up: %s", due.id, error)
        seconds = AWAY_SECONDS
        if refused:
            seconds = PUT_OFF_SECONDS * PUT_OFF_FACTOR**due.attempts
        async with self._service.transaction() as session:
            await store.put_off(session, due, error, seconds=seconds, refused=refused, dead=dead)
