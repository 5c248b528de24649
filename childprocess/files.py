"""Files on disk: what the system refuses is explained, and logs stay small."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from childprocess.errors import StartError

LOG_LIMIT_BYTES = 10 * 1024 * 1024
TAIL_BYTES = 16_384


def rotate_log(path: Path, limit: int = LOG_LIMIT_BYTES) -> bool:
    """Move a log that has grown beyond `limit` bytes aside, replacing the previous one.

    Its writer, which has the same file open for appending, continues at its start: lines written
    between the copy and the truncation are lost. Both files together stay below twice the limit
    plus the output between two checks.
    """
    try:
        if path.stat().st_size <= limit:
            return False
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)
    except OSError:
        # The disk is full, or the file is gone: no reason to stop a part.
        return False
    return True


def damaged(path: Path, why: str) -> str:
    return (
        f"{path} is damaged: {why}. Put it back from a backup, or move the whole folder "
        f"{path.parent} away to begin with an empty one. Nothing was changed."
    )


def explain(error: OSError, path: Path) -> str:
    """An operating system's refusal, as a paragraph that names the path and the way out."""
    where = error.filename or path
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return (
            f"The disk is full: {where} could not be written. Free some space and start again; "
            "what was stored before is intact."
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return (
            f"There is no permission to use {where}. It may belong to another user, for instance "
            "after a start with sudo: run as that user, give the folder back with "
            f"`sudo chown -R $(id -u) {path.parent if path.suffix else path}`, or choose another "
            "folder with AISAAS_DATA_DIR. Nothing was changed."
        )
    if error.errno == errno.EROFS:
        return f"{where} is on a read-only file system. Choose another folder with AISAAS_DATA_DIR."
    return f"{where} could not be used: {error.strerror or error}. Nothing was changed."


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn an OSError inside the block into a StartError that names the path."""
    try:
        yield
    except OSError as error:
        raise StartError(explain(error, path)) from error


def last_lines(log: Path, since: int = 0, count: int = 3) -> str:
    """The end of a log as one line, short enough to quote in a sentence."""
    lines = [line.strip() for line in _tail(log, since).splitlines() if line.strip()]
    return " / ".join(lines[-count:])[-600:]


def tells_of_full_disk(log: Path, since: int = 0) -> bool:
    tail = _tail(log, since)
    return "No space left on device" in tail or "ENOSPC" in tail


def _tail(log: Path, since: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
