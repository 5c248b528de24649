"""Runs a job in rounds, one after another, while the process runs jobs.

A round that fails stops none of the later ones. Metrics count how each ended, and the log says why:
an unavailable part is a warning, anything else an error with its trace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aisaas.errors import DependencyError
from aisaas.observe.jobs import RUNS


@dataclass(frozen=True, slots=True)
class NextRound:
    """What a round returns that knows itself when the next one is due."""

    seconds: float


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job's work, and how often it runs.

    `name` is the one in `observe/jobs.py`. `waits` and `failed` are for the log: what has to wait
    while a part is unavailable (`outages`), and what an unexpected error prevented.
    """

    name: str
    every: float
    once: Callable[[], Awaitable[object]]
    waits: str
    failed: str
    outages: tuple[type[Exception], ...] = (DependencyError,)
    # How to wait for the next round, and whether there are no more rounds.
    rest: Callable[[float], Awaitable[object]] = asyncio.sleep
    over: Callable[[], bool] = _never
    rests_first: bool = False


async def run(job: Job) -> None:
    """Runs until cancelled, or until the job is over."""
    RUNS.began(job.name)
    if job.rests_first:
        await job.rest(job.every)
    while not job.over():
        await job.rest(await one_round(job))


async def one_round(job: Job) -> float:
    """Seconds until the next."""
    log = logging.getLogger(f"{__package__}.{job.name}")
    try:
        result = await job.once()
    except job.outages as error:
        RUNS.failed(job.name)
        log.warning("%s: %s", job.waits, error)
    except Exception:
        RUNS.failed(job.name)
        # An unexpected error in one round must not stop the later ones.
        log.exception(job.failed)
    else:
        RUNS.succeeded(job.name)
        if isinstance(result, NextRound):
            return result.seconds
    return job.every
