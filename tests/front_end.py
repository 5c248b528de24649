"""The built pages, which all tests of a checkout share, also those that run at the same time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from aisaas.cli.build import frontend


@contextmanager
def kept() -> Generator[None]:
    """Nobody hides them inside the block: a process that looks for them starts there."""
    with _locked(fcntl.LOCK_SH):
        yield


@contextmanager
def hidden() -> Generator[None]:
    """As if they weren't built."""
    with _locked(fcntl.LOCK_EX):
        stamp = frontend.STAMP.rename(frontend.STAMP.with_suffix(".hidden"))
        try:
            yield
        finally:
            stamp.rename(frontend.STAMP)


@contextmanager
def _locked(kind: int) -> Generator[None]:
    descriptor = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
