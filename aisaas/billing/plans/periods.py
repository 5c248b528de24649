"""Which period a call counts in. A period is a key: a new one begins with nothing used, and there
is nothing to reset.

Paid plans use the period of the subscription's base item; all other users the calendar month (UTC).
When a period is over and the provider hasn't reported the next one yet, that one is already known:
it begins the moment the last one ended.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime

from aisaas.billing.plans.models import Entitled


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` to before `end`. `end` may be corrected later, `key` and `start` never."""

    key: str
    start: datetime
    end: datetime


def running(account: Entitled) -> Period | None:
    """The subscription's running period by the database's clock; None for the calendar month."""
    found = account.subscription
    if found is None:
        return None
    start, end = found.period_start, found.period_end
    months = 0
    while end <= account.read_at:
        # The first next period begins exactly here; those after it are a month apart.
        start, months = end, months + 1
        end = _months_later(found.period_end, months)
    return Period(str(key_of(found.id, start)), start, end)


def key_of(subscription_id: str | None, start: datetime | None) -> str | None:
    """The key of a subscription's period; None for the calendar month."""
    if subscription_id is None or start is None:
        return None
    return f"{subscription_id}:{int(start.timestamp())}"


def _months_later(day: datetime, months: int) -> datetime:
    """The same day of a later month, or that month's last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return day.replace(year=year, month=month + 1, day=min(day.day, last))
