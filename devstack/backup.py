"""A backup of an embedded install, in one file, and the way back.

In it: the database (a dump, so that another version of Postgres can read it), the books of the
Stripe fake, and the secrets that belong to both. Not in it: Redis, which holds nothing that has
to outlast a day, and logs. Invariants: a file is whole or not there; nothing is touched before all of a
backup was read and found sound; what a restore replaces is put aside, never deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg

from childprocess.environment import for_server
from childprocess.errors import StartError
from childprocess.files import explained
from childprocess.folder import DataFolder
from childprocess.ports import HOST, free_port
from devstack import postgres, valkey
from devstack.postgres import SUPERUSER, Postgres, find_binaries
from devstack.secrets import SUPERUSER_PASSWORD, folder_secrets

FORMAT = 1
MANIFEST = "manifest.json"
DUMP = "postgres.dump"
SECRETS = "secrets.json"
PORTS = "ports.json"
PAYMENTS = "payments"
# Entries of the data folder that a restore replaces.
REPLACED = (postgres.NAME, PAYMENTS, valkey.NAME, SECRETS, PORTS)
SQLITE = b"SQLite format 3\x00"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """One file of a backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a backup. `schema` is the revision of the database's schema, None before any."""

    format: int
    made_at: str
    postgres: int
    schema: str | None
    files: Mapping[str, Stored]


# There


def backup(folder: DataFolder, target: Path, *, replace: bool = False) -> Manifest:
    """Write a backup of `folder` to `target`, 0600, whether or not its instance runs.

    Raises:
        StartError: there is nothing to back up, a file is there already, or it can't be written.
    """
    if not postgres.data_path(folder).exists():
        raise StartError(f"There is no embedded database in {folder.path} to back up.")
    if target.exists() and not replace:
        raise StartError(f"{target} is there already. Choose another name, or say --replace.")
    with explained(target.parent), _scratch(target.parent) as scratch:
        with _database_of(folder) as url:
            version, schema = _about(url)
            _dump(url, scratch / DUMP)
        # After the database: the product asks again about payments made meanwhile.
        _copy_books(folder.path / PAYMENTS, scratch / PAYMENTS)
        for name in (SECRETS, PORTS):
            if (folder.path / name).exists():
                shutil.copyfile(folder.path / name, scratch / name)
        files = {
            str(path.relative_to(scratch)): _stored(path)
            for path in sorted(scratch.rglob("*"))
            if path.is_file()
        }
        manifest = Manifest(FORMAT, _now(), version, schema, files)
        _pack(scratch, manifest, target)
    return manifest


@contextmanager
def _database_of(folder: DataFolder) -> Generator[str]:
    """The address of the superuser, at the instance that runs or at one started for this."""
    running = folder.description()
    if running is not None and postgres.NAME in running["pids"]:
        secrets = folder_secrets(folder, kept=True)
        port = urlsplit(running["database_url"]).port
        yield _url(secrets, port)
        return
    folder.prepare()
    folder.lock()
    try:
        secrets = folder_secrets(folder, kept=True)
        port = free_port()
        server = Postgres(folder, secrets, port)
        server.prepare()
        try:
            server.process.start()
            yield _url(secrets, port)
        finally:
            server.process.stop()
    finally:
        folder.unlock()


def _url(secrets: Mapping[str, str], port: int | None) -> str:
    password = secrets[SUPERUSER_PASSWORD]
    return f"postgresql://{SUPERUSER}:{password}@{HOST}:{port}/{postgres.DATABASE}"


def _about(url: str) -> tuple[int, str | None]:
    """The server's major version and the schema's revision."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version // 10_000
            known = connection.execute("select to_regclass('private.alembic_version')").fetchone()
            if known is None or known[0] is None:
                return version, None
            row = connection.execute("select version_num from private.alembic_version").fetchone()
            return version, row[0] if row else None
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise StartError(
            f"The embedded database doesn't let us in: {reason}. Nothing was written."
        ) from error


def _dump(url: str, target: Path) -> None:
    _postgres_tool("pg_dump", url, "--format=custom", f"--file={target}")


def _postgres_tool(name: str, url: str, *arguments: str) -> None:
    tool = find_binaries() / name
    if not tool.is_file():
        raise StartError(f"This machine's PostgreSQL has no {name}: {tool} is missing.")
    parts = urlsplit(url)
    where = [f"--host={parts.hostname}", f"--port={parts.port}", f"--username={parts.username}"]
    done = subprocess.run(  # noqa: S603  # the binary beside our server's
        [tool, *where, f"--dbname={postgres.DATABASE}", "--no-password", *arguments],
        # The environment, because everyone on the machine can read the arguments of a process.
        env={**for_server(), "PGPASSWORD": parts.password or ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StartError(f"{name} did not get to its end: {' '.join(done.stderr.split())[-600:]}")


def _copy_books(source: Path, target: Path) -> None:
    """Databases of SQLite as of one moment, also while they are written; other files as they are."""
    for path in sorted(source.rglob("*")) if source.is_dir() else ():
        copy = target / path.relative_to(source)
        if path.name.endswith(("-wal", "-shm", "-journal")) or not path.is_file():
            continue
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("rb") as file:
            is_database = file.read(len(SQLITE)) == SQLITE
        if is_database:
            with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(copy)) as copied:
                live.backup(copied)
        else:
            shutil.copyfile(path, copy)


def _pack(scratch: Path, manifest: Manifest, target: Path) -> None:
    """One file, under another name until it is whole and on the disk."""
    (scratch / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n", "utf-8")
    draft = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name in (MANIFEST, *manifest.files):
                    archive.add(scratch / name, arcname=name, recursive=False)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


# And back


def look_into(source: Path) -> Manifest:
    """What a backup says of itself. Raises StartError when it is none, or not for this release."""
    with explained(source), _opened(source) as archive:
        return _manifest_of(archive, source)


def restore(source: Path, folder: DataFolder) -> Path | None:
    """Restore `source` into `folder`; returns where the previous data was moved, if there was any.

    Raises:
        StartError: the backup is damaged or not for this machine, or an instance runs. Nothing was
            changed.
    """
    folder.prepare()
    folder.lock()
    try:
        with explained(folder.path), _scratch(folder.path) as scratch:
            manifest = _unpack(source, scratch)
            made = _rebuild(scratch, manifest)
            return _swap(made, folder)
    finally:
        folder.unlock()


@contextmanager
def _opened(source: Path) -> Generator[tarfile.TarFile]:
    try:
        with tarfile.open(source, mode="r:gz") as archive:
            yield archive
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise StartError(f"{source} is no whole backup: {error}. Nothing was changed.") from error
    except OSError as error:
        if error.errno is None:
            # gzip's errors for bytes that aren't gzip.
            raise StartError(
                f"{source} is no whole backup: {error}. Nothing was changed."
            ) from error
        raise


def _manifest_of(archive: tarfile.TarFile, source: Path) -> Manifest:
    first = archive.next()
    content = archive.extractfile(first) if first and first.name == MANIFEST else None
    if content is None:
        raise StartError(f"{source} is no backup of this product. Nothing was changed.")
    fields = cast("dict[str, Any]", json.loads(content.read()))
    if fields.get("format") != FORMAT:
        raise StartError(
            f"{source} has the format {fields.get('format')!r}, and this release reads {FORMAT}. Restore "
            "it with the release that made it. Nothing was changed."
        )
    try:
        files = {name: Stored(**stored) for name, stored in fields["files"].items()}
        return Manifest(FORMAT, fields["made_at"], fields["postgres"], fields["schema"], files)
    except (AttributeError, KeyError, TypeError) as error:
        raise StartError(f"{source} is damaged: its manifest lacks {error}.") from error


def _unpack(source: Path, scratch: Path) -> Manifest:
    """Only files that the manifest lists, each as it says; nothing else gets out of an archive."""
    with _opened(source) as archive:
        manifest = _manifest_of(archive, source)
        for name, expected in manifest.files.items():
            if not _is_ours(name):
                raise StartError(f"{source} has a file that is none of a backup's: {name!r}.")
            member = archive.getmember(name) if name in archive.getnames() else None
            content = (
                archive.extractfile(member) if member is not None and member.isfile() else None
            )
            if content is None:
                raise StartError(f"{source} is damaged: {name} is missing. Nothing was changed.")
            path = scratch / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file, CHUNK)
            if _stored(path) != expected:
                raise StartError(f"{source} is damaged: {name} has changed. Nothing was changed.")
    if missing := {DUMP, SECRETS} - set(manifest.files):
        raise StartError(f"{source} is damaged: {', '.join(missing)} is missing.")
    return manifest


def _is_ours(name: str) -> bool:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        return False
    return name in {DUMP, SECRETS, PORTS} or path.parts[:1] == (PAYMENTS,)


def _rebuild(scratch: Path, manifest: Manifest) -> Path:
    """A new folder's content beside the old: a cluster of this machine's Postgres, filled."""
    if os.geteuid() == 0:
        # The database may run as the user `nobody`, which needs access.
        scratch.chmod(0o711)
        scratch.parent.chmod(0o711)
    made = DataFolder(scratch / "made")
    made.prepare()
    for name in (SECRETS, PORTS, PAYMENTS):
        if (scratch / name).exists():
            (scratch / name).replace(made.path / name)
    (made.path / SECRETS).chmod(0o600)
    # Secrets that a later release has added are created when missing.
    secrets = folder_secrets(made, kept=True)
    port = free_port()
    server = Postgres(made, secrets, port)
    server.prepare()
    url = _url(secrets, port)
    try:
        server.start()
        ours, _ = _about(url)
        if ours < manifest.postgres:
            raise StartError(
                f"The backup was made with PostgreSQL {manifest.postgres}, and this is PostgreSQL "
                f"{ours}, which may not read it. Nothing was changed."
            )
        _postgres_tool(
            "pg_restore",
            url,
            *("--clean", "--if-exists", "--single-transaction", "--exit-on-error"),
            str(scratch / DUMP),
        )
    finally:
        server.process.stop()
    shutil.rmtree(made.logs, ignore_errors=True)
    return made.path


def _swap(made: Path, folder: DataFolder) -> Path | None:
    """Move the current data aside and the restored data in; undo it if that fails halfway."""
    aside = folder.path / f"replaced-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    moved: list[tuple[Path, Path]] = []
    there = [name for name in REPLACED if (folder.path / name).exists()]
    try:
        if there:
            aside.mkdir(mode=0o700)
        for name in there:
            _move(folder.path / name, aside / name, moved)
        for path in sorted(made.iterdir()):
            if path.name in REPLACED:
                _move(path, folder.path / path.name, moved)
    except BaseException:
        for source, target in reversed(moved):
            target.replace(source)
        if there:
            aside.rmdir()
        raise
    return aside if there else None


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    source.replace(target)
    moved.append((source, target))


# Shared by both


@contextmanager
def _scratch(place: Path) -> Generator[Path]:
    """A private folder on the same disk, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=".backup-", dir=place))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _stored(path: Path) -> Stored:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for part in _parts(file):
            digest.update(part)
    return Stored(path.stat().st_size, digest.hexdigest())


def _parts(file: Any) -> Iterable[bytes]:
    return iter(lambda: file.read(CHUNK), b"")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
