"""Billing periods: calendar intervals counted from an anchor, in UTC.

Invariant: each boundary is counted from the anchor itself, never from the boundary before it, so that
a month that begins on the 31st ends on the last day of a shorter month and comes back to the 31st.
"""

import calendar
from datetime import UTC, datetime

DAY = 24 * 3600
WEEK = 7 * DAY
MONTHS = {"month": 1, "year": 12}
SECONDS = {"day": DAY, "week": WEEK}


def boundary(anchor: int, steps: int, interval: str, count: int) -> int:
    """The instant that is so many intervals after the anchor (or before it, if negative)."""
    if interval in SECONDS:
        return anchor + steps * count * SECONDS[interval]
    start = datetime.fromtimestamp(anchor, UTC)
    months = start.year * 12 + start.month - 1 + steps * count * MONTHS[interval]
    year, month = months // 12, months % 12 + 1
    day = min(start.day, calendar.monthrange(year, month)[1])
    return int(start.replace(year=year, month=month, day=day).timestamp())


def next_boundary(anchor: int, after: int, interval: str, count: int) -> int:
    """The first boundary later than `after`."""
    # No interval is longer than this, so the estimate never overshoots the boundary.
    longest = 366 * DAY if interval in MONTHS else SECONDS[interval]
    steps = (after - anchor) // (longest * count)
    while (at := boundary(anchor, steps, interval, count)) <= after:
        steps += 1
    return at
