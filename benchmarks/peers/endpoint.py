"""A peer's server, on a port of its own, with the demo model as its provider."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from childprocess.ports import answers_http, free_port
from childprocess.processes import Process, Service
from devstack.stack import Stack

START_SECONDS = 120.0
STOP_SECONDS = 5.0


@contextmanager
def endpoint(
    name: str,
    command: Callable[[int], Sequence[str]],
    *,
    folder: Path,
    stack: Stack,
    cwd: Path,
    env: Mapping[str, str],
) -> Generator[tuple[int, Process]]:
    """Run it inside the block; its port and its process.

    Args:
        command: starts the server on a port.
        folder: for the log.
    """
    port = free_port()
    service = Service(
        name=name,
        title=name,
        port=port,
        argv=list(command(port)),
        env={
            "OPENAI_API_BASE": stack.env["DEMO_API_BASE"],
            "OPENAI_API_KEY": stack.env["DEMO_API_KEY"],
            **env,
        },
        cwd=cwd,
        log=folder / f"{name}.log",
        answers=lambda: answers_http(port, "/"),
        stop_seconds=STOP_SECONDS,
        start_seconds=START_SECONDS,
    )
    process = Process(service)
    process.spawn()
    try:
        process.wait_until_it_answers()
        yield port, process
    finally:
        process.stop()
