"""Alerts the admins when the day's spending reaches 50, 80, and 100% of a cap: by mail, and by a
webhook if one is set.

The first process to notice records the line that was crossed and the alerts to send in one transaction.
Day, cap, and line are unique, so each line is alerted once. Sending comes later: the mail through the
notices, the webhook through alert_delivery.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal

from aisaas import formats
from aisaas.billing.notices.alert_delivery import AlertDelivery
from aisaas.billing.notices.alert_delivery_store import SPENDING, CapUse, DueAlert, add_spending
from aisaas.billing.notices.notices import SPENDING_NEAR, SPENDING_REFUSED, add_notice
from aisaas.billing.ports import Alert, AlertSink
from aisaas.controls import store as controls_store
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError
from aisaas.observe.metrics import JOB_ITEMS_FAILED

log = logging.getLogger(__name__)

PERCENTS = (100, 80, 50)
WHOLE = 100
NAMES = {"free": "Free accounts have", "total": "All accounts together have"}


def line_reached(use: CapUse) -> int | None:
    """The highest of PERCENTS, or None.

    A cap that refuses calls counts as reached, although amounts reserved for running calls may be
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
        self._to_webhook = sink is not None
        self._delivery = AlertDelivery(service, sink, SPENDING, lambda due: _alert(due, page))

    async def look_once(self) -> int:
        """Record the lines that all users' spending crossed since the last check; returns how many
        alerts that made.

        Raises DependencyError without the database: the next check finds them.
        """
        async with self._service.transaction() as session:
            uses = await controls_store.cap_uses(session, self._caps)
        made = 0
        for use in uses:
            percent = line_reached(use)
            if percent is None or percent <= use.recorded_percent:
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
        """Send the webhook everything that is due; returns how many alerts it accepted.

        Raises:
            DependencyError: the database or the webhook's server is unavailable; the rest waits.
        """
        return await self._delivery.deliver_once()

    async def _record(self, use: CapUse, percent: int) -> bool:
        lines = [line for line in PERCENTS if line <= percent]
        async with self._service.transaction() as session:
            added = await add_spending(session, use, lines, to_webhook=self._to_webhook)
            if percent not in added:
                # Another process checked at the same moment.
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


def _alert(due: DueAlert, page: str) -> Alert:
    row = due.row
    use = CapUse(**{field.name: row[field.name] for field in fields(CapUse) if field.name in row})
    spent, cap = formats.usd(use.spent_usd), formats.usd(use.cap_usd)
    day = formats.day(use.day)
    sentence = f"{NAMES[use.scope]} spent {spent} of the {cap} allowed on {day} (UTC)"
    closed = "; new calls are refused" if use.refusing else f": {row['percent']}%"
    return Alert(
        id=due.id,
        kind="spending",
        text=f"{sentence}{closed}. {page}",
        values={
            "scope": use.scope,
            "day": use.day.isoformat(),
            "percent": row["percent"],
            "cap_usd": f"{use.cap_usd:f}",
            "spent_usd": f"{use.spent_usd:f}",
            "reserved_usd": f"{use.reserved_usd:f}",
            "refusing": use.refusing,
            "at": row["created_at"].isoformat(),
        },
    )
