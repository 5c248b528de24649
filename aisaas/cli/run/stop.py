"""`stop`: ask the running instance to end, and wait until it has."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time

from aisaas.cli.environment import data_dir
from aisaas.cli.screen import complain, say
from childprocess.folder import DataFolder

PATIENCE_SECONDS = 90.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Running replies finish first."


def execute(_: argparse.Namespace) -> int:
    folder = DataFolder(data_dir())
    pid = folder.holder()
    if pid is None:
        say("Nothing is running.")
        return 0
    # It may exit between our check and the signal; that is fine.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while folder.holder() == pid:
        if time.monotonic() > deadline:
            complain(f"Process {pid} has not stopped after {PATIENCE_SECONDS:.0f} s.")
            return 1
        time.sleep(0.1)
    say("Stopped.")
    return 0
