"""What runs below a process, and signals to all of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


def process_tree(pid: int) -> list[int]:
    """`pid` and its descendants, parents first.

    Needed beside process groups because Postgres gives each backend a group of its own.
    """
    children: dict[int, list[int]] = {}
    for child, parent in parents():
        children.setdefault(parent, []).append(child)
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def parents() -> list[tuple[int, int]]:
    if sys.platform == "linux":
        found: list[tuple[int, int]] = []
        for entry in Path("/proc").glob("[0-9]*"):
            # Processes come and go while we look.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stat = (entry / "stat").read_text()
                # The command's name may contain spaces and brackets; fields start after its end.
                found.append((int(entry.name), int(stat.rpartition(")")[2].split()[1])))
        return found
    listing = subprocess.run(
        ["/bin/ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    return [(int(a), int(b)) for a, b in (line.split() for line in listing.stdout.splitlines())]


def signal_tree(pid: int, number: signal.Signals) -> None:
    for member in process_tree(pid):
        # Ended since we looked: what we wanted of it anyway, or nothing to wake.
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, number)


def signal_group(pid: int, number: signal.Signals) -> None:
    # An empty group is the usual case: nothing was left over.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def is_stopped(pid: int) -> bool:
    """Whether a process stands still because of a signal (SIGSTOP, or a debugger). Linux only."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in {"T", "t"}
