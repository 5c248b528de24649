"""At most so many at once, and only those wait who are served soon.

A queue without a bound turns a burst into an outage: all wait until their time is up, and what was done
for them is lost. So a request that would wait too long is refused at once, before any work, with the time to
come back (docs/decisions/0037). The rest is served in the order in which it came.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aisaas.errors import DependencyError, Overloaded, PoolExhausted, Unavailable
from aisaas.observe.metrics import REFUSED_EARLY
from aisaas.observe.outages import OUTAGES

# The longest wait for a place.
WAIT_SECONDS = 2.0
# How much the newest time counts in the mean.
NEWEST = 0.1


class Bulkhead:
    """A number of places, and a queue that is served within WAIT_SECONDS.

    Args:
        name: for the metrics.
        places: how many are served at once.
    """

    def __init__(self, name: str, *, places: int) -> None:
        self._name = name
        self._places = places
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        # How long a place is held, on average.
        self._mean = 0.0

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Hold a place inside the block; raises as `enter`."""
        await self.enter()
        began = time.monotonic()
        try:
            yield
        finally:
            self.leave(time.monotonic() - began)

    async def enter(self) -> None:
        """Take a place, which `leave` gives back.

        Raises:
            Overloaded: there would be none in time.
            Unavailable: the same while a part is away, because that is why they are all taken.
        """
        if self._taken < self._places and not self._waiting:
            self._taken += 1
            return
        expected = self.check()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except TimeoutError:
            self._withdraw(turn)
            raise self._refused(expected) from None
        except asyncio.CancelledError:
            self._withdraw(turn)
            raise

    def check(self) -> float:
        """Seconds that the next one waits when all places are taken; raises as `enter` if that is too
        long. For work that would have to be done before it can enter."""
        expected = self._mean * (len(self._waiting) + 1) / self._places
        if self._taken >= self._places and expected > WAIT_SECONDS:
            raise self._refused(expected)
        return expected

    def leave(self, seconds: float) -> None:
        """Give a place back that was held so long."""
        self._mean += (seconds - self._mean) * (NEWEST if self._mean else 1.0)
        self._pass_on()

    def _withdraw(self, turn: asyncio.Future[None]) -> None:
        if not turn.cancelled():
            # Its turn came at the same moment.
            self._pass_on()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    def _refused(self, expected: float) -> Overloaded | Unavailable:
        REFUSED_EARLY.labels(f"overload_{self._name}").inc()
        return Unavailable() if OUTAGES.any_away else Overloaded(expected)


def as_overload(error: DependencyError | Unavailable) -> Overloaded | None:
    """What to tell users whose request found no free connection of ours; None for an outage."""
    if isinstance(error, PoolExhausted) or isinstance(error.__cause__, PoolExhausted):
        return Overloaded(1)
    return None


@dataclass(frozen=True, slots=True)
class Bulkheads:
    """Those of a process. Each kind of work has its own, so that a burst of one leaves room for others.
    Webhooks have theirs in `billing.subscriptions.events`."""

    # Pages' events, page loads among them.
    events: Bulkhead
    # Forms: sign-in, sign-up, mails.
    forms: Bulkhead
    # Tabs that open, until they have their first update.
    tabs: Bulkhead


def bulkheads() -> Bulkheads:
    """The same in every process: what a process holds depends on its event loop, not on the site."""
    return Bulkheads(
        events=Bulkhead("events", places=16),
        forms=Bulkhead("forms", places=16),
        tabs=Bulkhead("tabs", places=8),
    )
