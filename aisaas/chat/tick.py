"""The one clock of a process's replies: what all of them brought is logged together, then shown.

A timer for each reply costs a round trip to Redis and several turns of the event loop per reply. One
tick costs one round trip however many replies there are, and a tick that takes long is followed by
fewer and larger ones.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aisaas.chat.ports import ReplyLog
from aisaas.chat.track import Track, flush

# Text is made visible this often; shorter is smoother, and costs more with many replies.
TICK_SECONDS = 0.04
# Of the time, ticks and the turns of the loop that follow them may take about one part in so many.
STRETCH = 3.0
SLOWEST_SECONDS = 0.3
# While no text arrives, how often to check that the log still has what was written.
LOOK_SECONDS = 1.0


class Tick:
    """Of one process. It runs while there are replies."""

    def __init__(self, log: ReplyLog) -> None:
        self._log = log
        self._tracks: set[Track] = set()
        self._changed: set[Track] = set()
        self._more = asyncio.Event()
        # Two writes of one track must not overtake each other.
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def changed(self, track: Track) -> None:
        """There is more text of it."""
        self._tracks.add(track)
        self._changed.add(track)
        self._more.set()
        if self._task is None:
            # It is never canceled: after a canceled write, it is unknown whether the text was written.
            self._task = asyncio.create_task(self._run())

    def note(self, track: Track) -> None:
        """Its facts are wanted in the log, whether or not it has text."""
        track.wants_facts = True
        self.changed(track)

    async def leave(self, *tracks: Track) -> None:
        """Log and show the rest of tracks that are complete, and forget them."""
        self._tracks.difference_update(tracks)
        self._changed.difference_update(tracks)
        self._more.set()
        async with self._writing:
            await flush(self._log, tracks)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        looked = loop.time()
        period = TICK_SECONDS
        while self._tracks:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._more.wait()
            began = loop.time()
            look = began >= looked + LOOK_SECONDS
            tracks = list(self._tracks if look else self._changed)
            looked = began if look else looked
            self._changed.clear()
            self._more.clear()
            async with self._writing:
                await flush(self._log, tracks, look=look)
            wrote = loop.time()
            due = max(began + period, wrote)
            await asyncio.sleep(due - wrote)
            # The followers that this tick woke have run by now, and may have made it late.
            took = wrote - began + loop.time() - due
            period = min(max(TICK_SECONDS, took * STRETCH), SLOWEST_SECONDS)
        self._task = None
