"""Whether this process is on its way out: set on SIGTERM, before anything else ends.

From then on `/ready` says no, so that whatever spreads the visitors sends no new ones here.
"""

from __future__ import annotations

import asyncio


class Draining:
    """A flag that is only ever set."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._begun.is_set()

    def begin(self) -> None:
        """In the thread of the event loop."""
        self._begun.set()

    async def wait(self) -> None:
        """Until it has begun."""
        await self._begun.wait()
