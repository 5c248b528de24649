"""A data folder: its lock, its private files, and what its holder says of itself.

Invariants: one holder at a time; every file that carries a secret is 0600 and replaced atomically;
nothing found damaged is ever deleted, only named.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from childprocess.errors import StartError
from childprocess.files import damaged, explained

MIN_FREE_BYTES = 300 * 1024 * 1024
LOCK_PATIENCE_SECONDS = 1.0
DESCRIPTION = "run.json"


class DataFolder:
    """`path` holds everything that the processes of one instance write."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def prepare(self) -> None:
        """Make the folder, private to its owner.

        Raises:
            StartError: it cannot be made or written, or the disk is nearly full.
        """
        with explained(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            free = shutil.disk_usage(self.path).free
        if free < MIN_FREE_BYTES:
            raise StartError(
                f"The disk of {self.path} has only {free // 1024**2} MB left, and at least "
                f"{MIN_FREE_BYTES // 1024**2} MB are needed. Free some space, or choose a folder "
                "on another disk with AISAAS_DATA_DIR. Nothing was started or changed."
            )

    def log(self, name: str) -> Path:
        """Where part `name` writes its log. It stays small: see `rotate_log`."""
        return self.logs / f"{name}.log"

    # One holder at a time

    def lock(self) -> None:
        """Take the folder until `unlock` or the end of this process.

        Raises:
            StartError: another instance holds it.
        """
        if self._lock is not None:
            return
        path = self.path / "lock"
        with explained(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        # `status` asks by taking a shared lock for a moment; that must not look like an instance.
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while not _flock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise StartError(self._already_running(holder))
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor
        # The process that wrote it held the lock we now hold, so it is gone.
        self.forget_description()

    def _already_running(self, holder: str) -> str:
        described = self._description()
        where = f" at {described['url']}" if described else ""
        who = f", pid {holder}" if holder else ""
        return (
            f"It is already running{where}{who}, with the data in {self.path}. Stop it with "
            "Ctrl-C in its terminal or with `python -m aisaas stop`; for a second instance give "
            "it a folder and a port of its own with AISAAS_DATA_DIR and PORT."
        )

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def holder(self) -> int | None:
        """The pid of the instance that holds the folder, or None when nothing runs."""
        path = self.path / "lock"
        if not path.exists():
            return None
        with explained(path):
            descriptor = os.open(path, os.O_RDONLY)
        try:
            if _flock(descriptor, fcntl.LOCK_SH):
                return None
            text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            return int(text) if text.isdigit() else None
        finally:
            os.close(descriptor)

    # The holder's description of itself, for other commands

    def describe(self, description: Mapping[str, Any]) -> None:
        self.write_json(DESCRIPTION, description)

    def forget_description(self) -> None:
        (self.path / DESCRIPTION).unlink(missing_ok=True)

    def description(self) -> dict[str, Any] | None:
        """Of the holder, or None without one; what a dead one left behind doesn't count."""
        return self._description() if self.holder() is not None else None

    def _description(self) -> dict[str, Any] | None:
        return self.read_json(DESCRIPTION) if (self.path / DESCRIPTION).exists() else None

    # Files

    def read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        with explained(path):
            text = path.read_bytes()
        try:
            content = json.loads(text)
        except ValueError:
            raise StartError(damaged(path, "it is not JSON")) from None
        if not isinstance(content, dict):
            raise StartError(damaged(path, "it is not a JSON object"))
        return cast("dict[str, Any]", content)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self.write_private(name, json.dumps(content, indent=2) + "\n")

    def write_private(self, name: str, text: str) -> Path:
        """Replace a 0600 file so that a reader, or a power cut, finds the old or the new whole."""
        path = self.path / name
        draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with explained(path):
            try:
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
        return path


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
