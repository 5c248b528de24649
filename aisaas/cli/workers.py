"""Several processes of the app behind one address, and how they follow each other.

The kernel spreads connections over whoever listens on the port (SO_REUSEPORT), so a worker that
dies takes only its own connections along, and one that is replaced goes when its successor listens.
Invariant: a new worker serves before an old one is asked to go, one at a time; when the new one
doesn't come up, the old ones go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aisaas.embedded.errors import StackError
from aisaas.embedded.processes import Process
from aisaas.embedded.supervisor import LOOK_SECONDS, Supervisor, impatient

Say = Callable[[str], None]


class Workers:
    """`make(number)` is a worker that isn't started yet."""

    def __init__(self, count: int, make: Callable[[int], Process], *, say: Say) -> None:
        self._make = make
        self._say = say
        self._serving = [make(number) for number in range(count)]
        # Those that are on their way out, too: none may be left behind.
        self._started = list(self._serving)
        self._supervisor = Supervisor(self._serving, say=say, changed=lambda: None)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._serving if process.pid is not None]

    def start(self) -> None:
        """All at once. Raises StackError when one doesn't come up."""
        for process in self._serving:
            process.spawn()
        for process in self._serving:
            process.wait_until_it_answers()

    def look(self) -> None:
        """Start again what has died."""
        self._supervisor.look()

    def roll(self) -> bool:
        """Replace each worker by a new one, with the code and the settings that are there now."""
        for number, old in enumerate(self._serving):
            new = self._make(number)
            self._started.append(new)
            try:
                new.start()
            except StackError as error:
                self._say(f"{error} The restart is given up; the workers there are go on.")
                new.stop()
                self._started.remove(new)
                return False
            self._serving[number] = new
            self._supervisor.replace(old, new)
            self._let_go(old)
            self._started.remove(old)
        self._say(f"All workers are new, pids {', '.join(map(str, self.pids))}.")
        return True

    def stop(self) -> None:
        """End all of them at the same time; their replies finish within the grace."""
        with impatient(self._started):
            for process in self._started:
                process.ask_to_end()
            for process in self._started:
                process.stop()

    def _let_go(self, old: Process) -> None:
        old.ask_to_end()
        deadline = time.monotonic() + old.service.stop_seconds
        while old.alive and time.monotonic() < deadline:
            self._supervisor.look()
            time.sleep(LOOK_SECONDS)
        old.stop()
