"""Provider health: how each attempt ended, its latency and speed, and which circuits are open.

No attempt waits: `record` only counts in memory, and a job writes the counts of its process every few
seconds, summed by minute and hour. Invariant: memory and rows are bounded. A crash loses what isn't written
yet, and an outage longer than the bound loses the oldest counts. A write whose answer is lost may count
twice. No decision depends on these rows.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from aisaas.billing.providers import health_store as store
from aisaas.billing.providers.health_store import CircuitState, Counted
from aisaas.db.service import ServiceDatabase

log = logging.getLogger(__name__)

# Ways an attempt may end besides errors.
ANSWERED, STOPPED = "answered", "stopped"
# Each a model's one end in one minute: some megabytes.
BUFFERED = 5000
MINUTE = 60.0
# Seconds until the first token are counted in ranges, each a fifth wider than the one before, so that a
# figure made of them is right to a tenth. The last reaches to 9 minutes.
SHORTEST, WIDER, RANGES = 0.01, 1.2, 60


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a provider. `kind` is ANSWERED, STOPPED, or the class of its error.

    `tokens` and `writing_seconds` are of what came after the first piece of text.
    """

    provider: str
    model: str
    kind: str
    first_token_seconds: float | None = None
    tokens: int = 0
    writing_seconds: float = 0.0


@dataclass(slots=True)
class _Sum:
    last: float
    times: int = 0
    first_tokens: list[int] = field(default_factory=list[int])
    tokens: int = 0
    writing_seconds: float = 0.0

    def add(self, more: _Sum) -> None:
        self.last = max(self.last, more.last)
        self.times += more.times
        self.tokens += more.tokens
        self.writing_seconds += more.writing_seconds
        missing = len(more.first_tokens) - len(self.first_tokens)
        self.first_tokens += [0] * missing
        for n, times in enumerate(more.first_tokens):
            self.first_tokens[n] += times


# Minute of this process's clock, provider, model, kind.
_Key = tuple[int, str, str, str]


class ProviderHealth:
    """Counts attempts here, and writes them as the service."""

    def __init__(
        self,
        service: ServiceDatabase,
        circuits: Callable[[], Sequence[CircuitState]],
        *,
        buffered: int = BUFFERED,
    ) -> None:
        """Args: `circuits` returns this process's circuits that aren't closed."""
        self._service = service
        self._circuits = circuits
        self._bound = buffered
        self._process = uuid4()
        # Oldest first. A minute of this process's clock only groups; the database names minutes.
        self._sums: dict[_Key, _Sum] = {}
        self._dropped = 0
        # Whether the database may have rows of circuits of this process.
        self._circuits_stored = False

    def record(self, attempt: Attempt) -> None:
        now = time.monotonic()
        tokens = attempt.tokens if attempt.writing_seconds > 0 else 0
        one = _Sum(now, 1, [], tokens, attempt.writing_seconds)
        if attempt.first_token_seconds is not None:
            one.first_tokens = [0] * range_of(attempt.first_token_seconds) + [1]
        self._add((int(now // MINUTE), attempt.provider, attempt.model, attempt.kind), one)
        self._drop_oldest()

    async def flush(self) -> int:
        """Write what was counted, and the circuits as they are; how many rows of counts that were.

        Raises:
            DependencyError, TooSlow: the database is away; everything stays counted.
        """
        if self._dropped:
            log.warning("%d attempts at providers were not recorded: too many", self._dropped)
            self._dropped = 0
        circuits = self._circuits()
        if not self._sums and not circuits and not self._circuits_stored:
            return 0
        taken, self._sums = self._sums, {}
        self._circuits_stored = True
        try:
            async with self._service.transaction(durable=False) as session:
                for counted in _by_minute(taken):
                    await store.add(session, counted)
                await store.set_circuits(session, self._process, circuits)
        except BaseException:
            meanwhile, self._sums = self._sums, taken
            for key, more in meanwhile.items():
                self._add(key, more)
            self._drop_oldest()
            raise
        self._circuits_stored = bool(circuits)
        return len(taken)

    async def leave(self) -> None:
        """At the end of the process: write the remaining counts, and remove its circuits.

        Raises: as `flush`.
        """
        self._circuits = tuple
        await self.flush()

    def _add(self, key: _Key, more: _Sum) -> None:
        there = self._sums.get(key)
        if there is None:
            self._sums[key] = more
        else:
            there.add(more)

    def _drop_oldest(self) -> None:
        while len(self._sums) > self._bound:
            self._dropped += self._sums.pop(next(iter(self._sums))).times


def _by_minute(sums: dict[_Key, _Sum]) -> Sequence[Sequence[Counted]]:
    """Counts grouped by minute: within a group no two are for the same row."""
    now = time.monotonic()
    minutes: dict[int, list[Counted]] = {}
    for (minute, provider, model, kind), each in sums.items():
        minutes.setdefault(minute, []).append(
            Counted(
                provider=provider,
                model=model,
                kind=kind,
                seconds_ago=now - each.last,
                times=each.times,
                first_tokens=tuple(each.first_tokens),
                tokens=each.tokens,
                writing_ms=round(each.writing_seconds * 1000),
            )
        )
    return tuple(minutes.values())


def range_of(seconds: float) -> int:
    """The range a first token is counted in."""
    if seconds < SHORTEST:
        return 0
    return min(int(math.log(seconds / SHORTEST, WIDER)), RANGES - 1)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Seconds within which that share of first tokens arrived; None without any."""
    total = sum(counts)
    if not total:
        return None
    wanted, before = share * total, 0
    for n, times in enumerate(counts):
        if times and before + times >= wanted:
            return SHORTEST * WIDER ** (n + (wanted - before) / times)
        before += times
    raise AssertionError("unreachable")
