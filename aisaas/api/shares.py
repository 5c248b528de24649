"""Shares of a scarce server resource: each address may hold a few, and the oldest is ended first.

Refusing the newest would let one stranger lock out everyone behind the same address. Ending the oldest
doesn't: a client that finishes within moments is never the oldest.
"""

from __future__ import annotations

import asyncio
import time
from typing import Generic, TypeVar

Holder = TypeVar("Holder")
# Rates of this many keys are kept before idle ones are dropped.
PRUNED_AT = 10_000


class Shares(Generic[Holder]):
    """Who holds what, by key (an address or an account), in the order they came."""

    def __init__(self, each: int) -> None:
        self.each = each
        self._held: dict[str, dict[Holder, None]] = {}

    def take(self, key: str, holder: Holder) -> Holder | None:
        """Let `holder` in. Returns who has to give way for it, if the share is used up."""
        held = self._held.setdefault(key, {})
        held[holder] = None
        if len(held) <= self.each:
            return None
        oldest = next(iter(held))
        del held[oldest]
        return oldest

    def release(self, key: str, holder: Holder) -> None:
        held = self._held.get(key)
        if held is None:
            return
        held.pop(holder, None)
        if not held:
            del self._held[key]

    def count(self, key: str) -> int:
        return len(self._held.get(key, ()))


class Rate:
    """A token bucket: `per_second` on average, `burst` at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._at = time.monotonic()

    def take(self) -> float:
        """Count one. Returns the seconds it has to wait to stay within the rate, mostly 0."""
        self._refill()
        self._left -= 1
        return max(0.0, -self._left / self._per_second)

    def wait(self) -> float:
        """Seconds until the next is within the rate. Counts nothing."""
        self._refill()
        return max(0.0, (1 - self._left) / self._per_second)

    @property
    def is_idle(self) -> bool:
        """Whether it is in the same state as a new one."""
        self._refill()
        return self._left == self._burst

    def _refill(self) -> None:
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now


class Turns:
    """Admits a number of requests per key and second; of those waiting, the newest first.

    A stranger's burst only delays itself: a client that arrives during it is admitted before it.
    """

    def __init__(self, per_second: float, at_once: float, most_waiting: int) -> None:
        self._new_rate = lambda: Rate(per_second, at_once)
        self._most_waiting = most_waiting
        self._rates: dict[str, Rate] = {}
        self._waiting: dict[str, list[asyncio.Future[bool]]] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    async def take(self, key: str) -> bool:
        """Wait for a turn. False when too many came after."""
        rate = self._rates.get(key)
        if rate is None:
            if len(self._rates) >= PRUNED_AT:
                self._rates = {k: r for k, r in self._rates.items() if not r.is_idle}
            rate = self._rates[key] = self._new_rate()
        waiting = self._waiting.get(key)
        if waiting is None:
            if not rate.wait():
                rate.take()
                return True
            waiting = self._waiting[key] = []
            pump = asyncio.create_task(self._let_in(key, rate, waiting))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        if len(waiting) > self._most_waiting:
            _settle(waiting.pop(0), let_in=False)
        return await turn

    async def _let_in(self, key: str, rate: Rate, waiting: list[asyncio.Future[bool]]) -> None:
        while waiting:
            await asyncio.sleep(rate.wait())
            if waiting and _settle(waiting.pop(), let_in=True):
                rate.take()
        del self._waiting[key]


def _settle(turn: asyncio.Future[bool], *, let_in: bool) -> bool:
    """False when the waiting client is gone."""
    if turn.done():
        return False
    turn.set_result(let_in)
    return True
