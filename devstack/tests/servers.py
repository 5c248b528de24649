"""Runs one embedded server as its own process, as the launcher does, and waits until it answers."""

import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

START_SECONDS = 90.0


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The test's own environment without whatever would configure a server by accident."""
    ours = ("AUTH_", "DEMO_", "PAYMENTS_", "APP_ENV")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return inherited | dict(variables)


@contextmanager
def running(
    module: str, variables: Mapping[str, str], *, health: str, log: Path
) -> Generator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=clean_environment(variables),
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(health, timeout=1).is_success:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{module} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
