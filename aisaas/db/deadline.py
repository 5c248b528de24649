"""A deadline for somebody else's answer, that our own standing still doesn't eat up.

On a machine that is busy the event loop comes late. An answer that has arrived meanwhile is read only
after the deadline is looked at, and a part that is well would be called away. So what was lost to our
own lateness is given once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

# By more than this the loop is late.
LATE_SECONDS = 0.05


def given_again(late: float, seconds: float) -> float:
    """Of a deadline of `seconds` that was looked at `late` seconds after it: 0, or as many more."""
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
