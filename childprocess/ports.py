"""Ports of 127.0.0.1: free ones, who listens on one, and whether a server answers there."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import socket
import sys
from collections.abc import Collection
from pathlib import Path

from childprocess.errors import StartError
from childprocess.tree import process_tree

HOST = "127.0.0.1"
# Below those a system gives to outgoing connections, one of which could take a port between its
# being chosen and its being listened on.
PORTS = range(20_000, 32_000)


def free_port(avoid: Collection[int] = (), prefer: int | None = None) -> int:
    """A free port of 127.0.0.1; `prefer` if it is free."""
    if prefer is not None and prefer not in avoid and is_free(prefer):
        return prefer
    for _ in range(len(PORTS)):
        port = secrets.choice(PORTS)
        if port not in avoid and is_free(port):
            return port
    raise StartError(f"Of the ports {PORTS.start} to {PORTS.stop - 1} none is free.")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections of a former run still in TIME_WAIT don't make a port unusable.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def port_holder(port: int) -> str | None:
    """Who listens on a port of this machine, for people: `pid 12, python3 -m http.server`."""
    if sys.platform != "linux":
        return None
    sockets = _listening_sockets(port)
    for entry in Path("/proc").glob("[0-9]*"):
        # Other users' processes don't show their files, and processes end while we look.
        with contextlib.suppress(OSError):
            if any(link.readlink().name in sockets for link in (entry / "fd").iterdir()):
                command = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                return f"pid {entry.name}, {command.strip()[:80]}"
    return None


def listens(pid: int, port: int) -> bool:
    """Whether a process, or one it started, listens on a port that others may listen on too."""
    sockets = _listening_sockets(port)
    for member in process_tree(pid):
        # Processes end while we look.
        with contextlib.suppress(OSError):
            files = (Path(f"/proc/{member}/fd")).iterdir()
            if any(link.readlink().name in sockets for link in files):
                return True
    return False


def _listening_sockets(port: int) -> set[str]:
    listening = "0A"
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        # Through our own entry: a hardened service sees nothing else of /proc.
        path = Path(f"/proc/self/net/{table}")
        if not path.exists():
            # A kernel without IPv6.
            continue
        for line in path.read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == listening and int(local.rpartition(":")[2], 16) == port:
                found.add(f"socket:[{rest[5]}]")
    return found


def answers_http(port: int, path: str) -> bool:
    """Whether `path` answers with success; a refusal or a silence is a no."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < http.client.BAD_REQUEST
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
