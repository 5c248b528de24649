"""A process with nothing to finish ends at once, even with clients connected or a part away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aisaas.chat.running import LEAST_SECONDS, RunningReplies
from aisaas.observe.draining import Draining
from devstack.stack import Stack
from tests.serve.conftest import Served, served

# Long enough to tell an end at once from one that waits for the grace, on a busy machine too.
GRACE_SECONDS = 120

pytestmark = [pytest.mark.timeout(400)]


@contextmanager
def connected(two: Served, *sent: bytes) -> Generator[None]:
    """Connections that say no more than this, some for each worker."""
    with ExitStack() as held:
        for said in sent:
            for _ in range(4):
                connection = held.enter_context(socket.create_connection(("127.0.0.1", two.port)))
                connection.sendall(said)
        yield


KEPT = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.usefixtures("front_end")
def test_an_idle_process_ends_long_before_its_grace(stack: Stack, tmp_path: Path) -> None:
    grace = str(GRACE_SECONDS)
    with served(tmp_path, stack, "--workers", "2", SHUTDOWN_GRACE_SECONDS=grace) as two:
        with connected(two, b"", KEPT):
            two.process.terminate()
            assert two.process.wait(GRACE_SECONDS / 2) == 0
        assert "refused to gracefully stop" not in two.log.read_text()


@pytest.mark.parametrize("grace", [0.0, 0.2, 4.0])
async def test_a_shutdown_takes_no_longer_than_its_grace_whatever_does_not_end(
    grace: float,
) -> None:
    """The server asks twice: on the signal, and when it has stopped serving."""
    nothing: Any = None
    replies = RunningReplies(nothing, nothing, nothing, Draining())
    stuck = replies.spawn(asyncio.sleep(3600))
    began = time.monotonic()
    await replies.shut_down(grace)
    await replies.shut_down(grace)
    took = time.monotonic() - began
    assert took >= min(grace, LEAST_SECONDS)
    # Twice the grace, or more, is what it took.
    assert took < max(grace, LEAST_SECONDS) * 1.9
    with pytest.raises(asyncio.CancelledError):
        await stuck
