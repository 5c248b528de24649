"""Whether the event loop of a process turns: the process answers on a socket of its own.

The port is shared by all workers, so a question there is answered by any of them. A worker that is
frozen, or blocked in its own code, takes no connection to this socket and says nothing.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

# The variable by which a supervisor passes the socket's path to the worker.
VARIABLE = "AISAAS_PULSE"
ASK_EVERY_SECONDS = 1.0
ANSWER = b"turning\n"


@asynccontextmanager
async def answered(path: str | None) -> AsyncGenerator[None]:
    """Answer inside the block, where a supervisor asks for it."""
    if path is None:
        yield
        return

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The client may have disconnected.
        with suppress(OSError):
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    try:
        yield
    finally:
        # Not `wait_closed`: it waits for the last client.
        server.close()


class Pulse:
    """Asks again and again, without ever waiting for the answer."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._asked: socket.socket | None = None
        self._next = 0.0
        self.begin()

    def begin(self) -> None:
        """Of a process that has just been started, and has said nothing yet."""
        self._close()
        # A socket left by a former process would refuse its successor.
        Path(self.path).unlink(missing_ok=True)
        self.heard = False
        self._since = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """Since it was last heard of, or since it began."""
        return time.monotonic() - self._since

    def look(self) -> bool:
        """Take the answer that came meanwhile, or ask. Whether it was ever heard of."""
        if self._asked is not None:
            self._listen()
        elif time.monotonic() >= self._next:
            self._ask()
        return self.heard

    def close(self) -> None:
        self._close()

    def _ask(self) -> None:
        self._next = time.monotonic() + ASK_EVERY_SECONDS
        asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        asked.setblocking(False)
        try:
            # The kernel accepts for the process, so this doesn't block.
            asked.connect(self.path)
        except OSError:
            asked.close()
            return
        self._asked = asked

    def _listen(self) -> None:
        assert self._asked is not None
        try:
            if self._asked.recv(len(ANSWER)):
                self.heard = True
                self._since = time.monotonic()
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close()

    def _close(self) -> None:
        if self._asked is not None:
            self._asked.close()
            self._asked = None
