"""Child processes that answer on a port and never outlive us.

Invariant: every child is started through `launch.py`, in a process group of its own, from one
thread that never ends. The group keeps the terminal's Ctrl-C for us alone, so that things stop in
order; the one thread matters because Linux ties the parent-death signal to the parent *thread*.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from childprocess import launch
from childprocess.environment import for_server
from childprocess.errors import StartError
from childprocess.files import explained, last_lines, rotate_log, tells_of_full_disk
from childprocess.tree import signal_group, signal_tree

POLL_SECONDS = 0.03
STOP_SECONDS = 15.0

die_with_parent = launch.die_with_parent
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


@dataclass(frozen=True, slots=True)
class Service:
    """What to run, and how to know that it answers."""

    name: str
    title: str
    port: int
    argv: Sequence[str]
    # None: it writes to our own output.
    log: Path | None
    answers: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=for_server)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = STOP_SECONDS
    start_seconds: float = 30.0
    identity: str = "same"
    # Cleanup before each start, for instance after a crash.
    prepare: Callable[[], None] = lambda: None


class Process:
    """One service, started and stopped any number of times on the same port."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid if self.alive and self._child else None

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def wanted(self) -> bool:
        """True from `start` until `stop`: a process that is wanted and not alive has died."""
        return self._child is not None

    def start(self, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Start it and wait until it answers, calling `meanwhile` again and again.

        Raises:
            StartError: it ended, or didn't answer in time; the end of its log is quoted.
        """
        self.spawn()
        self.wait_until_it_answers(meanwhile=meanwhile)

    def spawn(self) -> None:
        if self.alive:
            return
        service = self.service
        service.prepare()
        if service.log is None:
            self._spawn(sys.stdout.fileno())
            return
        self.rotate_log()
        with explained(service.log), service.log.open("ab") as log:
            self._log_start = log.tell()
            self._spawn(log.fileno())

    def _spawn(self, output: int) -> None:
        service = self.service
        self._child = spawn(
            service.argv,
            stop_signal=service.stop_signal,
            identity=service.identity,
            env=service.env,
            cwd=service.cwd,
            output=output,
        )

    def rotate_log(self) -> None:
        """Keep its log from growing without end."""
        if self.service.log is not None and rotate_log(self.service.log):
            self._log_start = 0

    def wait_until_it_answers(self, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """The second half of `start`."""
        deadline = time.monotonic() + self.service.start_seconds
        while not self.service.answers():
            meanwhile()
            if not self.alive:
                raise StartError(self._did_not_start("ended at once"))
            if time.monotonic() > deadline:
                waited = f"did not answer within {self.service.start_seconds:.0f} s"
                self.stop()
                raise StartError(self._did_not_start(waited))
            time.sleep(POLL_SECONDS)

    def _did_not_start(self, what: str) -> str:
        if self.service.log is None:
            return f"{self.service.title} {what}."
        if tells_of_full_disk(self.service.log, self._log_start):
            return (
                f"{self.service.title} could not start because the disk is full. Free some "
                f"space and start again; what was stored before is intact. Log: {self.service.log}"
            )
        tail = last_lines(self.service.log, self._log_start)
        quoted = f" Its last words were: {tail}" if tail else ""
        return f"{self.service.title} {what}.{quoted} The whole log is {self.service.log}."

    def ask_to_end(self) -> None:
        """Begin what `stop` waits for."""
        if self.alive and self._child is not None:
            signal_tree(self._child.pid, signal.SIGCONT)
            self._child.send_signal(self.service.stop_signal)

    def stop(self, seconds: float | None = None) -> None:
        """End it in an orderly way, or by force after `seconds`; returns when it is gone."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            signal_tree(child.pid, signal.SIGCONT)
            child.send_signal(self.service.stop_signal)
            try:
                child.wait(self.service.stop_seconds if seconds is None else seconds)
            except subprocess.TimeoutExpired:
                signal_tree(child.pid, signal.SIGKILL)
                child.wait()
        signal_group(child.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End it and all it started with SIGKILL, as a crash would."""
        if self._child is not None:
            signal_tree(self._child.pid, signal.SIGKILL)
            self._child.wait()
            signal_group(self._child.pid, signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it and all it started: its port accepts, and nothing ever answers."""
        if self._child is not None:
            signal_tree(self._child.pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self._child is not None:
            signal_tree(self._child.pid, signal.SIGCONT)


def spawn(
    argv: Sequence[str],
    *,
    output: int,
    stop_signal: signal.Signals = signal.SIGTERM,
    identity: str = "same",
    mode: str = launch.BECOME,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that gets `stop_signal` when this process ends, however it ends.

    Unless `env` says otherwise, it inherits what any program needs to know of the machine.
    """
    wrapped = [
        *(sys.executable, "-I", "-S", launch.__file__),
        *(str(os.getpid()), str(int(stop_signal)), identity, mode, launch.SEPARATOR),
        *argv,
    ]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  # our own argument list, no shell
            wrapped,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=for_server() if env is None else env,
            cwd=cwd,
            start_new_session=True,
        )

    return _spawner.submit(start).result()


def run(
    argv: Sequence[str],
    *,
    identity: str = "same",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path,
) -> int:
    """Run a program to its end with its output in `log`, and nothing else in there.

    When we are interrupted or end, it ends at once, with everything it started.
    """
    with explained(log), log.open("wb") as output:
        child = spawn(
            argv,
            stop_signal=signal.SIGKILL,
            identity=identity,
            mode=launch.WATCH,
            env=env,
            cwd=cwd,
            output=output.fileno(),
        )
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            signal_tree(child.pid, signal.SIGKILL)
            child.wait()
