"""The data folder: its lock, its secrets and the description of the running instance.

Invariants: one holder at a time; every file that carries a secret is 0600 and replaced atomically;
nothing found damaged is ever deleted, only named.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from aisaas.embedded.errors import StackError

MIN_FREE_BYTES = 300 * 1024 * 1024
LOG_LIMIT_BYTES = 10 * 1024 * 1024
LOCK_PATIENCE_SECONDS = 1.0


def _token(prefix: str = "") -> str:
    return prefix + secrets.token_hex(24)


SUPERUSER_PASSWORD = "postgres_superuser_password"  # noqa: S105  # its name, not its value
# Each is made once and then kept: a password that changed would lock the data out.
SECRETS = {
    SUPERUSER_PASSWORD: "",
    "postgres_password": "",
    "auth_admin_password": "",
    "app_password": "",
    "service_password": "",
    "redis_password": "",
    "publishable_key": "sb_publishable_",
    "secret_key": "sb_secret_",
    "demo_key": "demo-",
    "payments_key": "sk_test_",
    "webhook_secret": "whsec_",
    "meter_webhook_secret": "whsec_",
    "session_secret": "",
}


@dataclass(frozen=True, slots=True)
class Running:
    """The instance that holds the folder, as told to `status`, `check` and tests."""

    url: str
    database_url: str
    service_database_url: str
    redis_url: str
    auth_url: str
    mailbox_url: str | None
    model_base: str | None
    data_dir: str
    pids: dict[str, int] = field(default_factory=dict[str, int])
    # What the embedded parts told the app, so that other commands can act beside it.
    env: dict[str, str] = field(default_factory=dict[str, str])
    payments_url: str | None = None


def rotate_log(path: Path, limit: int = LOG_LIMIT_BYTES) -> bool:
    """Put a log that has grown beyond `limit` bytes aside, in the place of the one before.

    Its writer goes on at the beginning of the same file, which it has open for appending: what it writes
    in the moment between the copy and the cut is lost. Together they stay below twice the limit and what
    is written between two looks.
    """
    try:
        if path.stat().st_size <= limit:
            return False
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)
    except OSError:
        # The disk is full, or the file is gone: nothing that a part should end for.
        return False
    return True


class DataFolder:
    """`path` holds everything the embedded parts write."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def prepare(self) -> None:
        """Make the folder, private to its owner.

        Raises:
            StackError: it cannot be made or written, or the disk is nearly full.
        """
        with explained(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            free = shutil.disk_usage(self.path).free
        if free < MIN_FREE_BYTES:
            raise StackError(
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
            StackError: another instance holds it.
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
                raise StackError(self._already_running(holder))
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor
        # Whoever wrote it held the lock we now hold, so it is gone.
        self.forget_running()

    def _already_running(self, holder: str) -> str:
        running = self._read_running()
        where = f" at {running.url}" if running else ""
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

    # The running instance

    def write_running(self, running: Running) -> None:
        self.write_json("run.json", asdict(running))

    def forget_running(self) -> None:
        (self.path / "run.json").unlink(missing_ok=True)

    def running(self) -> Running | None:
        """The instance that is up, or None; what a dead one left behind doesn't count."""
        return self._read_running() if self.holder() is not None else None

    def _read_running(self) -> Running | None:
        path = self.path / "run.json"
        if not path.exists():
            return None
        return Running(**self.read_json(path.name))

    # Files

    def secrets(self, *, kept: bool) -> dict[str, str]:
        """The secrets of this folder, made at the first call.

        `kept` says that data protected by them exists, so that they cannot be made anew.

        Raises:
            StackError: the file is unreadable, damaged, or missing although `kept`.
        """
        path = self.path / "secrets.json"
        if not path.exists() and kept:
            raise StackError(
                f"{path} is missing, but the database beside it exists and its passwords were in "
                "that file. Put the file back from a backup, or move the whole folder "
                f"{self.path} away to begin with an empty one. Nothing was changed."
            )
        known = self.read_json(path.name) if path.exists() else {}
        wrong = [name for name in known if not isinstance(known[name], str) or not known[name]]
        # The other passwords are set anew at each start; this one opens the door to set them.
        if wrong or (kept and SUPERUSER_PASSWORD not in known):
            raise StackError(_damaged(path, "a value in it is missing or is not text"))
        missing = {name: _token(SECRETS[name]) for name in SECRETS if name not in known}
        if missing:
            known |= missing
            self.write_json(path.name, known)
        return known

    def read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        with explained(path):
            text = path.read_bytes()
        try:
            content = json.loads(text)
        except ValueError:
            raise StackError(_damaged(path, "it is not JSON")) from None
        if not isinstance(content, dict):
            raise StackError(_damaged(path, "it is not a JSON object"))
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


def _damaged(path: Path, why: str) -> str:
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
    """Turn an OSError inside the block into a StackError that names the path."""
    try:
        yield
    except OSError as error:
        raise StackError(explain(error, path)) from error
