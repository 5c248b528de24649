"""Runs one embedded HTTP server in this process, on loopback, until it is stopped.

Invariant: the socket is always 127.0.0.1, and APP_ENV other than development never gets this far.
Log lines are JSON on stderr and carry no secret: callers pass fields, never headers or bodies.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 2.0
LISTEN_BACKLOG = 1024

logger = logging.getLogger("devstack")


class CannotStartError(Exception):
    """The server refuses to start; the message is one line for the user who started it."""


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            # The type and the place are enough to find a bug. The message of a database error
            # can quote a row, so it stays out.
            line["error"] = record.exc_info[0].__name__
            frame = record.exc_info[2]
            while frame and frame.tb_next:
                frame = frame.tb_next
            if frame:
                line["where"] = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        return json.dumps(line, default=str)


def log(event: str, *, level: int = logging.INFO, failed: bool = False, **fields: object) -> None:
    """Write one log line. `failed` adds the type and place of the exception being handled."""
    logger.log(level, event, extra={"fields": fields}, exc_info=failed)


def set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)


def read_port(environment: Mapping[str, str], name: str) -> int:
    """The port in a variable. Raises `ValueError` with a sentence that names the variable."""
    text = environment.get(name, "")
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:  # noqa: PLR2004
        raise ValueError(f"{name} is not a port number")
    return int(text)


def refuse_outside_development(environment: Mapping[str, str], what: str) -> None:
    """Raises `CannotStartError` unless APP_ENV is unset, empty or `development`."""
    app_env = environment.get("APP_ENV") or "development"
    if app_env != "development":
        raise CannotStartError(f"{what} is for development only; APP_ENV is {app_env!r}.")


async def serve(app: ASGIApp, *, name: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Requests still open then get `GRACE_SECONDS` to end.

    Raises `CannotStartError` when something already listens on the port.
    """
    _refuse_taken_port(port)
    server = Server(
        app,
        address=LOOPBACK,
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=LISTEN_BACKLOG,
        log_enabled=False,
    )
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, asked_to_stop.set)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(asked_to_stop.wait())
    log("listening", server=name, port=port, pid=os.getpid())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        stopping.cancel()
        await serving
        return
    server.stop()
    await asyncio.wait({serving}, timeout=GRACE_SECONDS)
    log("stopped", server=name, cleanly=serving.done())
    if not serving.done():
        serving.cancel()


def _refuse_taken_port(port: int) -> None:
    # The server below listens with SO_REUSEPORT: a second one on the same port would start
    # and take half of the connections.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise CannotStartError(f"Port {port} is already in use.") from error
