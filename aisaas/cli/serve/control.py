"""How a command reaches the `serve` of this machine: a socket in the data folder, for its user only.

A signal could ask as well, and SIGHUP does; the answer, whether a restart was done or given up and
why, needs a way back.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from childprocess.errors import StartError

RELOAD = b"reload\n"
# A client that connects sends its request immediately.
ASK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    done: bool
    said: str


class Control:
    """The side of `serve`."""

    def __init__(self, listening: socket.socket | None) -> None:
        self._listening = listening
        self._asked: list[socket.socket] = []

    @property
    def asked(self) -> bool:
        """Whether a client is waiting for an answer."""
        return bool(self._asked)

    def wait(self, seconds: float) -> None:
        """Wait until a client asks, or until the time is up."""
        if self._listening is None:
            time.sleep(seconds)
            return
        if select.select([self._listening], [], [], seconds)[0]:
            self._accept(self._listening)

    def take(self) -> Callable[[Outcome], None]:
        """The clients waiting now, as a function that answers them; a later request means another
        restart."""
        asked, self._asked = self._asked, []

        def answer(outcome: Outcome) -> None:
            for connection in asked:
                # The client may have disconnected.
                with connection, suppress(OSError):
                    connection.sendall(json.dumps(asdict(outcome)).encode())

        return answer

    def _accept(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.settimeout(ASK_SECONDS)
        with suppress(OSError):
            if connection.recv(len(RELOAD)) == RELOAD:
                self._asked.append(connection)
                return
        connection.close()


@contextmanager
def listening(folder: Path, port: int, warn: Callable[[str], None]) -> Generator[Control]:
    """Inside the block commands reach us, if the folder lets them; `warn` hears when it doesn't."""
    made: socket.socket | None = None
    try:
        with _reachable(folder, port, make=True) as path:
            made = _bind(path)
    except OSError as error:
        warn(f"`python -m aisaas reload` can't reach this process ({error}); SIGHUP can.")
    try:
        yield Control(made)
    finally:
        if made is not None:
            made.close()
            with suppress(OSError):
                _path(folder, port).unlink()


def reload(folder: Path, port: int) -> Outcome:
    """Have all workers replaced; returns once that succeeded or was given up.

    Raises:
        StartError: no supervisor is running, or it exited meanwhile.
    """
    try:
        with _reachable(folder, port) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(RELOAD)
            received = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError as error:
        raise StartError(
            f"No `serve` can be reached for port {port} ({_path(folder, port)}: {error.strerror}). It has "
            "to run on this machine as the same user, with the same AISAAS_DATA_DIR and PORT."
        ) from error
    if not received:
        raise StartError("`serve` ended before the restart did.")
    return Outcome(**json.loads(received))


def _path(folder: Path, port: int) -> Path:
    return folder / f"serve-{port}.sock"


@contextmanager
def _reachable(folder: Path, port: int, *, make: bool = False) -> Generator[str]:
    """The socket's path, short: the kernel takes 107 characters at most."""
    if make:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    short = Path("/proc/self/fd")
    if not short.is_dir():
        yield str(_path(folder, port))
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(short / str(descriptor) / _path(folder, port).name)
    finally:
        os.close(descriptor)


def _bind(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        # We hold the port, so an existing socket was left by a process that is gone.
        Path(path).unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            made.bind(path)
        finally:
            os.umask(before)
        made.listen()
    except BaseException:
        made.close()
        raise
    return made
