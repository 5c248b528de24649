"""What a service tells systemd of itself (sd_notify), where systemd has started it; else nothing."""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)

READY = "READY=1"
STOPPING = "STOPPING=1"
# systemd reads immediately; if the queue is full, no one is listening.
SECONDS = 1.0


def notify(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        # An abstract socket, which is in no folder.
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.settimeout(SECONDS)
            to.connect(address)
            to.sendall("\n".join(lines).encode())
    except OSError as error:
        # Keep serving whether or not systemd gets the message.
        log.warning("systemd did not get %s: %s", lines[0], error)


def reloading() -> None:
    """Until the next READY."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


class Watchdog:
    """Says that we are alive, as often as WatchdogSec of the unit wants it twice."""

    def __init__(self) -> None:
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted = os.environ.get("WATCHDOG_USEC", "") if ours else ""
        self.every = int(wanted) / 2_000_000 if wanted else None
        self._next = 0.0

    def beat(self) -> None:
        """Call it in every round of a loop: it speaks when it is due."""
        if self.every is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.every
            notify("WATCHDOG=1")
