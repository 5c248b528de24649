"""Keeps a set of processes running until stopped.

Invariants: a process that dies is restarted on its own port; the first signal stops everything in
order, the last started first; a second signal stops waiting.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from childprocess.errors import StartError
from childprocess.processes import Process

LOOK_SECONDS = 0.2
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
# Up for this long, a process is taken to be well, and the next death starts at the first backoff.
WELL_AFTER_SECONDS = 60.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Watches processes which are already started."""

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        say: Callable[[str], None],
        changed: Callable[[], None],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """`meanwhile` is called again and again while a process that is started again comes up."""
        self._processes = list(processes)
        self._say = say
        self._changed = changed
        self._meanwhile = meanwhile
        now = time.monotonic()
        self._up_since = dict.fromkeys(map(id, processes), now)
        self._backoff = dict.fromkeys(map(id, processes), FIRST_BACKOFF_SECONDS)
        self._next_try = dict.fromkeys(map(id, processes), 0.0)
        self._failed: set[int] = set()

    def watch(self) -> None:
        """Restart what dies, until KeyboardInterrupt."""
        while True:
            self.look()
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Restart what has died since the last look."""
        for process in self._processes:
            process.rotate_log()
            # Also restart one that was killed for not answering in time.
            if (process.wanted or id(process) in self._failed) and not process.alive:
                self._revive(process)

    def replace(self, old: Process, new: Process) -> None:
        """Watch `new`, which is started already, instead of `old`, which may end from now on."""
        self._processes[self._processes.index(old)] = new
        self._failed.discard(id(old))
        self._up_since[id(new)] = time.monotonic()
        self._backoff[id(new)] = FIRST_BACKOFF_SECONDS
        self._next_try[id(new)] = 0.0

    def _revive(self, process: Process) -> None:
        key, now, title = id(process), time.monotonic(), process.service.title
        if now < self._next_try[key]:
            return
        if now - self._up_since[key] > WELL_AFTER_SECONDS:
            self._backoff[key] = FIRST_BACKOFF_SECONDS
        self._say(f"{title} has ended unexpectedly; starting it again.")
        try:
            process.start(meanwhile=self._meanwhile)
        except StartError as error:
            self._failed.add(key)
            self._say(f"{error} Trying again in {self._backoff[key]:.0f} s.")
        else:
            self._failed.discard(key)
            self._up_since[key] = time.monotonic()
            self._say(f"{title} is back.")
            self._changed()
        self._next_try[key] = time.monotonic() + self._backoff[key]
        self._backoff[key] = min(2 * self._backoff[key], MAX_BACKOFF_SECONDS)


@contextmanager
def interruptible() -> Generator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt inside the block."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def impatient(processes: Sequence[Process]) -> Generator[None]:
    """Inside the block, which is busy stopping `processes`, one more signal kills them."""

    def kill(_number: int, _frame: object) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    before = {number: signal.signal(number, kill) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
