"""What people read in the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

STEP_WIDTH = 34


def say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def step(title: str) -> Generator[None]:
    """Show the step in progress, then how long it took."""
    sys.stdout.write(f"  {title} ".ljust(STEP_WIDTH, "."))
    sys.stdout.flush()
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say(" not done")
        raise
    say(f" {time.monotonic() - began:.1f} s")
