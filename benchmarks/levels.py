"""How many replies of 50 tokens per second stream at once without lagging, for any candidate.

Each token is the provider's clock when it was sent, so a listener knows how late it is. Listeners ask
again when their reply has ended, so replies keep starting and settling. The number of listeners grows
while 95 % of the tokens arrive within the limit, and is then narrowed for as long as there is time.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

SPEED = 50
LIMIT_MS = 200.0
REPLIES_EACH = 2
# On the way up; the lag of the first three is reported.
LEVELS = (8, 32, 100, 200, 400)
REPORTED = LEVELS[:3]
# Narrowed to within this part of the number found.
PRECISION = 0.1
# No level is begun that would end later than this after the first.
BUDGET_SECONDS = 240

# A token of the demo model's `ticks`: milliseconds on the machine's monotonic clock.
STAMP = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Token:
    """When it arrived (seconds, monotonic), how late it was, and its bytes with the space."""

    arrived: float
    lag_ms: float
    size: int

    @classmethod
    def of(cls, stamp: str, arrived: float) -> Token:
        return cls(arrived, arrived * 1000 - int(stamp), len(stamp) + 1)


@dataclass(frozen=True, slots=True)
class Level:
    """The measurements with so many replies."""

    replies: int
    complete: bool
    p50_lag_ms: float
    p95_lag_ms: float
    cpu_us_per_token: float
    bytes_per_reply_byte: float

    @property
    def holds(self) -> bool:
        return self.complete and self.p95_lag_ms < LIMIT_MS

    @property
    def summary(self) -> str:
        """For the screen."""
        if not self.complete:
            return f"{self.replies} replies: not all were complete"
        lag = f"{self.p50_lag_ms:.0f} / {self.p95_lag_ms:.0f} ms"
        return (
            f"{self.replies} replies: lag p50 / p95 {lag}, {self.cpu_us_per_token:.0f} us per token"
        )


class Listener(ABC):
    """Someone who asks for replies and reads them."""

    # Bytes that arrived so far.
    received = 0

    @abstractmethod
    async def listen(self, seconds: int) -> list[Token]:
        """Ask for a reply that takes so long, and read all of it."""


class Candidate(ABC):
    """Something that streams replies of the demo model to listeners."""

    @abstractmethod
    def listeners(self, count: int) -> AsyncGenerator[Sequence[Listener]]:
        """So many of them, ready to ask; for one level."""

    @property
    @abstractmethod
    def pids(self) -> Iterable[int]:
        """Of the processes that are measured; their children count as well."""


def prompt(seconds: int) -> str:
    return f"ticks {SPEED * seconds} speed {SPEED}"


async def highest(
    candidate: Candidate, seconds: int, progress: Callable[[str], None]
) -> tuple[Level, dict[int, Level]]:
    """The highest level that holds, or the lowest one if none does; and those of REPORTED. The time is
    BUDGET_SECONDS, and what the last level takes longer than expected.

    Args:
        seconds: how long each reply is.
        progress: is called with a line after each level.
    """
    began = ended = time.monotonic()
    took = 0.0
    seen: dict[int, Level] = {}

    async def holds(replies: int) -> bool:
        nonlocal ended, took
        seen[replies] = found = await level(candidate, replies, seconds)
        now = time.monotonic()
        took, ended = now - ended, now
        progress(f"{found.summary} ({now - began:.0f} s of at most about {BUDGET_SECONDS})")
        return found.holds

    low, high = 1, None
    for replies in LEVELS:
        if not await holds(replies):
            high = replies
            break
        low = replies
    while high is not None and high - low > max(1, low * PRECISION):
        if ended + took > began + BUDGET_SECONDS:
            progress(f"The time is up: {low} or more, but fewer than {high}")
            break
        middle = math.isqrt(low * high)
        if await holds(middle):
            low = middle
        else:
            high = middle
    return seen.get(low, seen[LEVELS[0]]), _reported(seen)


def _reported(seen: dict[int, Level]) -> dict[int, Level]:
    return {replies: found for replies, found in seen.items() if replies in REPORTED}


async def level(candidate: Candidate, count: int, seconds: int) -> Level:
    """Each listener asks for two replies, one after the other; they begin evenly spread over the
    length of a reply. While the second ones begin, all of them stream: that phase is measured."""
    try:
        return await _level(candidate, count, seconds)
    except TimeoutError:
        # The listeners didn't even get ready.
        return Level(count, False, math.inf, math.inf, math.inf, math.inf)


async def _level(candidate: Candidate, count: int, seconds: int) -> Level:
    async with asynccontextmanager(candidate.listeners)(count) as opened:
        talks = [
            asyncio.create_task(_talk(each, seconds, delay=seconds * number / count))
            for number, each in enumerate(opened)
        ]
        await asyncio.sleep(seconds)
        since, received, cpu = time.monotonic(), _received(opened), cpu_seconds(candidate.pids)
        await asyncio.sleep(seconds)
        until, received, cpu = (
            time.monotonic(),
            _received(opened) - received,
            cpu_seconds(candidate.pids) - cpu,
        )
        heard = [token for talk in talks for token in await talk]
    lags = sorted(each.lag_ms for each in heard if since <= each.arrived < until)
    size = sum(each.size for each in heard if since <= each.arrived < until)
    return Level(
        replies=count,
        complete=len(heard) == SPEED * seconds * REPLIES_EACH * count,
        p50_lag_ms=_quantile(lags, 0.5),
        p95_lag_ms=_quantile(lags, 0.95),
        cpu_us_per_token=cpu * 1e6 / max(len(lags), 1),
        bytes_per_reply_byte=received / max(size, 1),
    )


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[int(len(ordered) * part)] if ordered else math.inf


def _received(listeners: Sequence[Listener]) -> int:
    return sum(each.received for each in listeners)


async def _talk(listener: Listener, seconds: int, *, delay: float) -> list[Token]:
    await asyncio.sleep(delay)
    heard: list[Token] = []
    for _ in range(REPLIES_EACH):
        try:
            heard += await listener.listen(seconds)
        except TimeoutError:
            # Far beyond what this machine holds: the level counts as incomplete.
            return heard
    return heard


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of processes and their children so far, user and system."""
    roots = set(pids)
    ticks = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            # It has ended since.
            continue
        if int(folder.name) in roots or int(fields[1]) in roots:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
