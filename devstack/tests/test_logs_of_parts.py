"""Logs of the parts stay small, while their writers go on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from childprocess.files import rotate_log
from childprocess.processes import Process, Service
from childprocess.supervisor import Supervisor

LIMIT = 1_000
# A writer on a busy machine takes its time to fill a log three times.
PATIENCE_SECONDS = 120
TALKS = (
    "import itertools\nfor n in itertools.count(): print(f'line {n:09}', 'x' * 4000, flush=True)"
)


def test_a_log_is_put_aside_beyond_its_limit_and_not_before(tmp_path: Path) -> None:
    log, aside = tmp_path / "part.log", tmp_path / "part.log.1"
    with log.open("ab") as writer:
        writer.write(b"a" * LIMIT)
        writer.flush()
        assert not rotate_log(log, LIMIT)
        writer.write(b"b")
        writer.flush()
        assert rotate_log(log, LIMIT)
        assert (aside.read_bytes(), log.read_bytes()) == (b"a" * LIMIT + b"b", b"")
        writer.write(b"next")
    # Not after as many zeros as were there before.
    assert log.read_bytes() == b"next"
    assert not rotate_log(log, LIMIT)
    assert not rotate_log(tmp_path / "never.log", LIMIT)


def test_a_part_that_talks_without_end_fills_no_disk(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    service = Service(
        name="talker",
        title="Talker",
        port=0,
        argv=[sys.executable, "-c", TALKS],
        log=log,
        answers=log.exists,
    )
    process = Process(service)
    process.start()
    try:
        supervisor = Supervisor([process], say=print, changed=lambda: None)
        rotations, deadline = 0, time.monotonic() + PATIENCE_SECONDS
        size_before = 0
        while rotations < 3 and time.monotonic() < deadline:
            supervisor.look()
            size = log.stat().st_size
            rotations += size < size_before
            size_before = size
        assert rotations == 3
        assert process.alive
    finally:
        process.stop(5)
    assert (tmp_path / "part.log.1").read_text().startswith("line ")
