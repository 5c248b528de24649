"""One line when a part becomes unavailable, one when it is back, and counts in between.

An outage fails every call, in every job and for every user, and each would log it, many times a
second. `QuietWhileAway` drops such lines while their outage is already logged.

Invariant: every dropped line is counted, and no other line is dropped.
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass

from aisaas.errors import DependencyError
from aisaas.observe.metrics import DEPENDENCY_FAILURES

log = logging.getLogger(__name__)

# How often a lasting outage is logged again.
AGAIN_SECONDS = 30.0
# This many in a row aren't just a busy moment.
LATE_IN_A_ROW = 3
# A part that still fails now and then isn't back.
QUIET_SECONDS = 2.0
# By the package that raised an error, the part it belongs to.
PACKAGES = {"redis": "redis", "psycopg": "database", "sqlalchemy": "database"}


@dataclass
class _Outage:
    began: float
    last: float
    logged_at: float
    failed: int = 0
    left_out: int = 0


class Outages:
    """Of this process, by part: `database`, `redis`, `auth`."""

    def __init__(self) -> None:
        self._away: dict[str, _Outage] = {}
        # Requests that weren't answered in time since the last that was.
        self._late: dict[str, int] = {}

    def is_away(self, part: str) -> bool:
        return part in self._away

    @property
    def any_away(self) -> bool:
        return bool(self._away)

    def failed(self, part: str, *, late: bool) -> None:
        """It didn't answer. `late`: in time; it, or this machine, may only be busy."""
        DEPENDENCY_FAILURES.labels(part).inc()
        now = time.monotonic()
        outage = self._away.get(part)
        self._late[part] = self._late.get(part, 0) + 1 if late else LATE_IN_A_ROW
        if outage is None and self._late[part] < LATE_IN_A_ROW:
            log.info("%s has not answered in time", part)
            return
        if outage is None:
            self._away[part] = _Outage(began=now, last=now, logged_at=now, failed=1)
            log.error("%s is away: an outage begins", part)
            return
        outage.failed += 1
        outage.last = now
        if now - outage.logged_at >= AGAIN_SECONDS:
            outage.logged_at = now
            log.error(
                "%s has been away for %.0f s: %d requests failed, %d lines left out",
                *(part, now - outage.began, outage.failed, outage.left_out),
            )

    def answered(self, part: str) -> None:
        """It did."""
        self._late.pop(part, None)
        if not self._away:
            return
        outage, now = self._away.get(part), time.monotonic()
        if outage is None or now - outage.last < QUIET_SECONDS:
            return
        del self._away[part]
        log.warning(
            "%s is back: the outage has ended after %.1f s; %d requests failed, %d lines left out",
            *(part, now - outage.began, outage.failed, outage.left_out),
        )

    def left_out(self, part: str) -> None:
        self._away[part].left_out += 1


OUTAGES = Outages()


class QuietWhileAway(logging.Filter):
    """Drops lines caused by an unavailable part.

    Such a line is written where the part's error is handled, or carries it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == __name__ or record.levelno > logging.ERROR:
            return True
        for error in (record.exc_info[1] if record.exc_info else None, sys.exc_info()[1]):
            part = _part_of(error)
            if part is not None and OUTAGES.is_away(part):
                OUTAGES.left_out(part)
                return False
        return True


def is_late(error: BaseException | None) -> bool:
    """Whether an error only says that time was up."""
    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004  # a chain may be a ring
        if isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower():
            return True
        error, seen = error.__cause__ or getattr(error, "orig", None), seen + 1
    return False


def _part_of(error: BaseException | None) -> str | None:
    """Which part an error is about; None when it is about something else."""
    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004  # a chain may be a ring
        if type(error) is DependencyError:
            return str(error)
        if isinstance(error, ConnectionError | TimeoutError | OSError):
            error, seen = error.__cause__ or error.__context__, seen + 1
            continue
        if part := PACKAGES.get(type(error).__module__.partition(".")[0]):
            return part
        error, seen = error.__cause__, seen + 1
    return None
