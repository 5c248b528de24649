"""Several processes of the app behind one address, and how they replace each other.

The kernel spreads connections over the processes listening on the port (SO_REUSEPORT), so a worker
that dies loses only its own connections, and a replaced one exits once its successor listens.
Invariants: all workers are of one generation: the old ones are stopped once every new one serves,
and if one doesn't come up all new ones are stopped; a worker whose event loop has been blocked for
HUNG_SECONDS is killed and restarted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from aisaas.observe.pulse import Pulse
from aisaas.observe.supervision import Supervision
from childprocess.errors import StartError
from childprocess.processes import Process
from childprocess.supervisor import LOOK_SECONDS, Supervisor, impatient
from childprocess.tree import is_stopped

Say = Callable[[str], None]
HUNG_SECONDS = 10.0
# If no worker comes up for this long, exit: our parent may succeed by restarting us.
GIVE_UP_SECONDS = 120.0


@dataclass(eq=False)
class Worker:
    """A process, and the pulse that shows it is alive; None where it has none."""

    process: Process
    pulse: Pulse | None = None


def _nothing() -> None:
    pass


class Workers:
    """`make(number)` is a worker that isn't started yet.

    `warn` is for what an operator should know, `changed` is called when `supervision` has changed, and
    `beat` in every round, also while something is waited for.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[int], Worker],
        *,
        say: Say,
        warn: Say | None = None,
        changed: Callable[[], None] = _nothing,
        beat: Callable[[], None] = _nothing,
    ) -> None:
        self._make = make
        self._say = say
        self._warn = warn or say
        self._changed = changed
        self._beat = beat
        self.supervision = Supervision()
        self._serving = [make(number) for number in range(count)]
        # Includes workers that are starting or stopping: none may be left behind.
        self._started = list(self._serving)
        self._well_since = time.monotonic()
        # Since when a process is stopped by a signal; those that were killed for hanging; those whose
        # end was counted.
        self._stopped_since: dict[Worker, float] = {}
        self._killed: set[Worker] = set()
        self._ended: set[Worker] = set()
        self._supervisor = Supervisor(
            [worker.process for worker in self._serving],
            say=self._warn,
            changed=changed,
            meanwhile=self._watch,
        )

    @property
    def pids(self) -> list[int]:
        return [w.process.pid for w in self._serving if w.process.pid is not None]

    def start(self) -> None:
        """All at once. Raises StartError when one doesn't come up."""
        for worker in self._serving:
            worker.process.spawn()
        for worker in self._serving:
            worker.process.wait_until_it_answers(meanwhile=self._beat)
        self._count()

    def look(self) -> None:
        """Start again what has died or hangs.

        Raises:
            StartError: none of them could be brought up for GIVE_UP_SECONDS.
        """
        self._watch()
        self._count_ends()
        self._supervisor.look()
        self._count_ends()
        if self.pids:
            self._well_since = time.monotonic()
        elif time.monotonic() - self._well_since > GIVE_UP_SECONDS:
            raise StartError(f"No worker could be started for {GIVE_UP_SECONDS:.0f} s.")

    def roll(self) -> bool:
        """Replace all workers with new ones, with the current code and settings.

        For a while there are twice as many: once every new one serves, the old ones stop one at a
        time, so that their tabs don't all hit one worker at once.
        """
        made = [self._make(number) for number in range(len(self._serving))]
        for worker in made:
            self._started.append(worker)
            try:
                worker.process.start(meanwhile=self._watch)
            except StartError as error:
                self._warn(f"{error} The restart is given up; all former workers go on.")
                for each in made:
                    if each in self._started:
                        self._let_go(each)
                self._restarted("given_up")
                return False
        for number, new in enumerate(made):
            old, self._serving[number] = self._serving[number], new
            self._supervisor.replace(old.process, new.process)
        self._count()
        for old in [worker for worker in self._started if worker not in made]:
            self._let_go(old)
        self._restarted("done")
        self._say(f"All workers are new, pids {', '.join(map(str, self.pids))}.")
        return True

    def give_up(self) -> None:
        """A restart that wasn't even begun, because it could not have succeeded."""
        self._restarted("given_up")

    def stop(self) -> None:
        """End all of them at the same time; their replies finish within the grace."""
        processes = [worker.process for worker in self._started]
        with impatient(processes):
            for process in processes:
                process.ask_to_end()
            asked = time.monotonic()
            for process in processes:
                # They had the same time, all of them.
                process.stop(max(0.0, process.service.stop_seconds - (time.monotonic() - asked)))
        for worker in self._started:
            if worker.pulse is not None:
                worker.pulse.close()

    def _watch(self) -> None:
        """Kill what hangs; the next look starts it again."""
        self._beat()
        for worker in self._serving:
            process = worker.process
            seconds = self._hangs_since(worker)
            if seconds < HUNG_SECONDS:
                continue
            self._warn(
                f"{process.service.title}, pid {process.pid}, hangs: it hasn't answered for "
                f"{seconds:.0f} s. It is killed and started again."
            )
            self._killed.add(worker)
            self._stopped_since.pop(worker, None)
            process.kill()

    def _hangs_since(self, worker: Worker) -> float:
        """Seconds; 0 when it is well, or isn't expected to answer."""
        pid, now = worker.process.pid, time.monotonic()
        if pid is None or worker.pulse is None:
            return 0.0
        # One that was never heard of is still starting, and has its own limit for that.
        if not worker.pulse.look():
            return 0.0
        # The app may turn below a server that is stopped and would never let it end.
        if not is_stopped(pid):
            self._stopped_since.pop(worker, None)
            return worker.pulse.silent_seconds
        return now - self._stopped_since.setdefault(worker, now)

    def _count_ends(self) -> None:
        """Each end of a worker that wasn't asked to go, once."""
        for worker in self._serving:
            if worker.process.alive:
                self._ended.discard(worker)
            elif worker not in self._ended:
                self._ended.add(worker)
                reason = "hung" if worker in self._killed else "ended"
                self._killed.discard(worker)
                self.supervision.replaced[reason] += 1
        if self.supervision.workers != len(self.pids):
            self._count()

    def _count(self) -> None:
        self.supervision.workers = len(self.pids)
        self._changed()

    def _restarted(self, result: str) -> None:
        self.supervision.restarts[result] += 1
        self._changed()

    def _let_go(self, old: Worker) -> None:
        process = old.process
        process.ask_to_end()
        deadline = time.monotonic() + process.service.stop_seconds
        while process.alive and time.monotonic() < deadline:
            self.look()
            time.sleep(LOOK_SECONDS)
        process.stop(0)
        if old.pulse is not None:
            old.pulse.close()
        self._started.remove(old)
