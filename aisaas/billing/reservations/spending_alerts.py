"""Alerts the admins when the day's spending reaches 50, 80, and 100% of a cap: by mail, and by a
webhook if one is set.

The first process to notice records the line that was crossed and the alerts to send in one transaction.
Day, cap, and line are unique, so each line is alerted once. Sending comes later: the mail through the
notices, the webhook from here, at least once and with the same id each time.

Outage: while the webhook's server is down, alerts wait as long as it takes. An alert is dropped only
after the server has rejected it REFUSALS times.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal

from aisaas import formats
from aisaas.billing.job_failures import name_of
from aisaas.billing.notices.notices import SPENDING_NEAR, SPENDING_REFUSED, add_notice
from aisaas.billing.reservations import spending_store as store
from aisaas.billing.reservations.spending_store import CapUse, DueAlert
from aisaas.db.service import ServiceDatabase
from aisaas.errors import AlertError, DependencyError
from aisaas.observe.metrics import JOB_ITEMS_FAILED
from aisaas.ports import Alert, AlertSink

log = logging.getLogger(__name__)

PERCENTS = (100, 80, 50)
WHOLE = 100
REFUSALS = 5
LEASE_SECONDS = 60.0
AWAY_SECONDS = 30.0
# An alert that was refused: after 1, 4, 16 and 64 minutes.
PUT_OFF_SECONDS = 60.0
PUT_OFF_FACTOR = 4
NAMES = {"free": "Free accounts have", "total": "All accounts together have"}


def line_reached(use: CapUse) -> int | None:
    """The highest of PERCENTS, or None.

    A cap that refuses calls counts as reached, although what is reserved for running calls may be
    released later. A cap of $0 is reached only when it refuses a call.
    """
    if use.refusing:
        return WHOLE
    if use.cap_usd <= 0:
        return None
    spent = use.spent_usd * WHOLE
    return next((percent for percent in PERCENTS if spent >= use.cap_usd * percent), None)


class SpendingAlerts:
    """Args: `caps`: what the settings say, by scope, where no admin has set another."""

    def __init__(
        self,
        service: ServiceDatabase,
        caps: Mapping[str, Decimal],
        sink: AlertSink | None,
        *,
        page: str,
    ) -> None:
        self._service = service
        self._caps = caps
        self._sink = sink
        self._page = page

    async def look_once(self) -> int:
        """Record what was crossed since the last look, anybody's; how many alerts that made.

        Raises DependencyError without the database: the next look finds it.
        """
        async with self._service.transaction() as session:
            uses = await store.cap_uses(session, self._caps)
        made = 0
        for use in uses:
            percent = line_reached(use)
            if percent is None or percent <= use.told_percent:
                continue
            try:
                made += await self._record(use, percent)
            except DependencyError:
                raise
            except Exception:
                # One cap's alert must not keep the other cap's from the admins.
                log.exception("the alert of cap %s could not be recorded", use.scope)
                JOB_ITEMS_FAILED.labels("alert_spending").inc()
        return made

    async def deliver_once(self) -> int:
        """Tell the webhook everything that is due; how many it took.

        Raises:
            DependencyError: the database or the webhook's server is away; the rest waits.
        """
        if self._sink is None:
            return 0
        sent = 0
        while (due := await self._claim()) is not None:
            sent += await self._deliver(self._sink, due)
        return sent

    async def _record(self, use: CapUse, percent: int) -> bool:
        lines = [line for line in PERCENTS if line <= percent]
        async with self._service.transaction() as session:
            added = await store.add_lines(session, use, lines, to_webhook=self._sink is not None)
            if percent not in added:
                # Another process looked at the same moment.
                return False
            await add_notice(
                session,
                None,
                SPENDING_REFUSED if use.refusing else SPENDING_NEAR,
                f"spending:{use.day}:{use.scope}:{use.cap_usd:f}:{percent}",
                {
                    "scope": use.scope,
                    "percent": percent,
                    "cap_usd": f"{use.cap_usd:f}",
                    "spent_usd": f"{use.spent_usd:f}",
                    "reserved_usd": f"{use.reserved_usd:f}",
                    "day": use.day.isoformat(),
                },
            )
        log.warning("spending: %s has reached %d%% of its cap", use.scope, percent)
        return True

    async def _claim(self) -> DueAlert | None:
        async with self._service.transaction() as session:
            return await store.claim(session, LEASE_SECONDS)

    async def _deliver(self, sink: AlertSink, due: DueAlert) -> bool:
        try:
            await sink.send(_alert(due, self._page))
        except AlertError as error:
            await self._put_off(due, str(error), refused=error.refused)
            if not error.refused:
                # The next one would fare no better.
                raise
            return False
        except DependencyError:
            raise
        except Exception as error:
            # Whatever it is about this one, the others are told.
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


def _alert(due: DueAlert, page: str) -> Alert:
    use = due.use
    spent, cap = formats.usd(use.spent_usd), formats.usd(use.cap_usd)
    day = formats.day(use.day)
    sentence = f"{NAMES[use.scope]} spent {spent} of the {cap} allowed on {day} (UTC)"
    closed = "; new calls are refused" if use.refusing else f": {due.percent}%"
    return Alert(
        id=due.id,
        kind="spending",
        text=f"{sentence}{closed}. {page}",
        values={
            "scope": use.scope,
            "day": use.day.isoformat(),
            "percent": due.percent,
            "cap_usd": f"{use.cap_usd:f}",
            "spent_usd": f"{use.spent_usd:f}",
            "reserved_usd": f"{use.reserved_usd:f}",
            "refusing": use.refusing,
            "at": due.created_at.isoformat(),
        },
    )
