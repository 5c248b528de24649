"""Logs where an event loop is blocked, and ends the process where nothing else would.

A thread checks that the loop still turns. It can't unblock it, but it can name the line that blocks
it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
# Logged once each time the loop is blocked this long.
LOG_AFTER_SECONDS = 5.0


class _Watch(threading.Thread):
    def __init__(self, exit_after: float | None) -> None:
        super().__init__(name="loop watch", daemon=True)
        self._loop_thread = threading.get_ident()
        self._exit_after = exit_after
        self._logged = False
        self.came_round = time.monotonic()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(EVERY_SECONDS):
            still = time.monotonic() - self.came_round
            if still < LOG_AFTER_SECONDS:
                self._logged = False
            elif not self._logged:
                self._logged = True
                log.error("the event loop is blocked for %.0f s, in: %s", still, self._where())
            if self._exit_after is not None and still > self._exit_after:
                log.critical("the event loop is blocked for %.0f s; this process ends", still)
                logging.shutdown()
                os._exit(1)

    def _where(self) -> str:
        # The documented way, underscore and all.
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        frame = frames.get(self._loop_thread)
        return "".join(traceback.format_stack(frame)) if frame else "unknown"


@asynccontextmanager
async def loop_watched(*, exit_after: float | None = None) -> AsyncGenerator[None]:
    """Inside the block. Args: exit_after: seconds, where nothing else watches this process."""
    watch = _Watch(exit_after)

    async def come_round() -> None:
        while True:
            watch.came_round = time.monotonic()
            await asyncio.sleep(EVERY_SECONDS)

    coming = asyncio.create_task(come_round())
    watch.start()
    try:
        yield
    finally:
        watch.over.set()
        coming.cancel()
