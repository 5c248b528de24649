"""Items that a job could not do: each waits for its next try, and is set aside after the last.

A job goes through many items, and one that can't be done must keep no other from its turn. What a job
claims leaves out what is noted here until its time comes; what is set aside stays out until an admin
retries it. Invariant: an error is kept by its name, never by its text, which may quote what users wrote.
"""

from __future__ import annotations

import logging
from typing import LiteralString

from aisaas.db.engine import PipelinedQuery
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError
from aisaas.observe.metrics import JOB_ITEMS_FAILED
from aisaas.text_cleaning import clean

log = logging.getLogger(__name__)

# Tries before an item is set aside: after 30 s, 2, 8 and 32 minutes.
ATTEMPTS = 5
FIRST_WAIT_SECONDS = 30.0
WAIT_FACTOR = 4.0
NAME_LENGTH = 300
# So many items in a row without an answer are no item's fault: the part that doesn't answer is away.
AWAY_AFTER = 3

_FAILED: LiteralString = """
    insert into private.job_failures as f (job, item, attempts, last_error, next_attempt_at)
    values (%(job)s, %(item)s, 1, %(error)s, now() + make_interval(secs => %(first)s))
    on conflict (job, item) do update set
      attempts = f.attempts + 1,
      last_error = excluded.last_error,
      last_at = now(),
      next_attempt_at = case when f.attempts + 1 < %(attempts)s
        then now() + make_interval(secs => %(first)s * power(%(factor)s, f.attempts)) end
    returning next_attempt_at is null as set_aside
    """
_SUCCEEDED: LiteralString = (
    "delete from private.job_failures where job = %(job)s and item = %(item)s returning 1"
)


def name_of(error: BaseException) -> str:
    """What kind of error it is: its class, and the code that a database or a vendor gave it."""
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlstate", None)
    if code is None and cause is error:
        code = getattr(error, "kind", None)
    name = type(cause).__name__ if code is None else f"{type(cause).__name__} {code}"
    return clean(name)[:NAME_LENGTH]


class JobFailures:
    """Of all jobs, as the service."""

    def __init__(self, service: ServiceDatabase) -> None:
        self._service = service

    async def failed(self, job: str, item: str, error: BaseException) -> bool:
        """Record a failed try; returns whether the item is now set aside.

        Raises:
            DependencyError: the database is down, and nothing is recorded.
        """
        JOB_ITEMS_FAILED.labels(job).inc()
        parameters = {
            "job": job,
            "item": item,
            "error": name_of(error),
            "attempts": ATTEMPTS,
            "first": FIRST_WAIT_SECONDS,
            "factor": WAIT_FACTOR,
        }
        aside = await self._service.ask(
            PipelinedQuery(
                ((_FAILED, parameters),), lambda answers: bool(answers[0][0]["set_aside"])
            )
        )
        if aside:
            log.error("%s: %s is set aside", job, item)
        return aside

    async def succeeded(self, job: str, item: str) -> None:
        """It is done: what went wrong before is forgotten. Raises DependencyError."""
        parameters = {"job": job, "item": item}
        await self._service.ask(
            PipelinedQuery(((_SUCCEEDED, parameters),), lambda _: None), durable=False
        )


class Patience:
    """Tells a part that is away from single items that get no answer."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._last: DependencyError | None = None

    def answered(self) -> None:
        self._in_a_row = 0

    def unanswered(self, error: DependencyError) -> None:
        """Raises the error once too many items in a row got no answer."""
        self._in_a_row += 1
        self._last = error
        if self._in_a_row >= AWAY_AFTER:
            raise error

    def end(self) -> None:
        """After the last item: raises the last error, so that the round counts as failed."""
        if self._last is not None:
            raise self._last
