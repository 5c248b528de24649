"""A deadline for another service's answer that isn't used up by our own event loop stalling.

On a busy machine the event loop runs late. An answer that arrived meanwhile is read only after the
deadline is checked, so a healthy service would be reported as down. Therefore the time lost to our
own delay is added to the deadline once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

# The loop counts as late beyond this.
LATE_SECONDS = 0.05


def given_again(late: float, seconds: float) -> float:
    """Seconds to add to a deadline of `seconds` that was checked `late` seconds after it; may be
    0."""
    return min(late, seconds) if late > LATE_SECONDS else 0.0


@asynccontextmanager
async def within(seconds: float) -> AsyncGenerator[None]:
    """Like `asyncio.timeout`. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    handle: asyncio.TimerHandle | None = None
    async with asyncio.timeout(None) as limit:

        def due(at: float, *, again: bool) -> None:
            nonlocal handle
            more = given_again(loop.time() - at, seconds) if again else 0.0
            if more:
                at = loop.time() + more
                handle = loop.call_at(at, lambda: due(at, again=False))
            else:
                limit.reschedule(loop.time())

        ends = loop.time() + seconds
        handle = loop.call_at(ends, lambda: due(ends, again=True))
        try:
            yield
        finally:
            handle.cancel()
