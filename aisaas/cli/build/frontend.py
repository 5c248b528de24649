"""The front end's build: when it is needed, how it is made, and that it leaks nothing.

Invariants: a build counts only when its stamp was written, which happens last, after the search
for secrets; the stamp covers everything the build is made of; one build at a time in a checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from aisaas.cli.build.leaks import find_leaks
from aisaas.process.server import REFLEX
from aisaas.settings import PROJECT_ROOT, Settings
from childprocess.errors import StartError
from childprocess.files import explained, last_lines, tells_of_full_disk
from childprocess.folder import DataFolder
from childprocess.locked_npm import WHY_IT_FAILED
from childprocess.node import node_environment
from childprocess.processes import run

BUILD = PROJECT_ROOT / ".web" / "build"
CLIENT = BUILD / "client"
# Beside the served files, inside the folder that Reflex empties when it starts.
STAMP = BUILD / "stamp.json"
LOCK = PROJECT_ROOT / "reflex.lock"
# Pages are Python: they render plans, prices and messages from other packages too. Code that can't
# reach a page is left out, so that changing it needs no new build.
SERVER_ONLY = {"adapters", "api", "cli", "db", "jobs", "process"}
OTHER_SOURCES = ("rxconfig.py", "requirements.txt")


def is_current(settings: Settings) -> bool:
    """Whether the finished build matches the current sources."""
    if not STAMP.is_file() or not (CLIENT / "index.html").is_file():
        return False
    return json.loads(STAMP.read_text()) == _stamp(_sources(settings))


def build(settings: Settings, folder: DataFolder, *, update_lock: bool = False) -> None:
    """Make the front end, from the packages that the committed lock names.

    Waits while another process builds in this checkout, and then uses its build if it fits.

    Args:
        update_lock: let npm resolve what the pages need now, and write that into the lock.

    Raises:
        StartError: it could not be made, or a secret was found in it.
    """
    with _only_builder() as waited:
        if update_lock or not (waited and is_current(settings)):
            _build(settings, folder, update_lock=update_lock)


@contextmanager
def _only_builder() -> Generator[bool]:
    """Whether another builder had to be waited for. The system releases the lock of a process that ends."""
    checkout = os.open(PROJECT_ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(checkout, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waited = False
        except BlockingIOError:
            fcntl.flock(checkout, fcntl.LOCK_EX)
            waited = True
        yield waited
    finally:
        os.close(checkout)


def _build(settings: Settings, folder: DataFolder, *, update_lock: bool) -> None:
    # The sources as they are before the build, so that an edit during it leads to another build.
    sources = _sources(settings)
    log = folder.log("build")
    with explained(PROJECT_ROOT / ".web"):
        # Reflex removes it too, but only after minutes of installing and compiling.
        STAMP.unlink(missing_ok=True)
        why = folder.path / "why-no-packages"
        why.unlink(missing_ok=True)
        env = {
            **node_environment(folder.path / "node", locked=not update_lock),
            **REFLEX,
            **{name.upper(): value for name, value in settings.built_values().items()},
            WHY_IT_FAILED: str(why),
        }
        command = [sys.executable, "-m", "reflex", "export", "--frontend-only", "--no-zip"]
        status = run(command, env=env, cwd=PROJECT_ROOT, log=log)
    _settle_order(LOCK / "package.json")
    if why.is_file():
        raise StartError(f"The front end could not be built: {why.read_text('utf-8')} Log: {log}.")
    if status != 0 or not (CLIENT / "index.html").is_file():
        raise StartError(_failed(log))
    if leaks := find_leaks(CLIENT, settings.secrets()):
        raise StartError(
            "The front end contains secrets, so it is not served: "
            + "; ".join(leaks[:10])
            + ". Anyone who opened the page could read them. Remove them from the pages' code. If "
            "this build was ever published, replace the keys."
        )
    with explained(STAMP):
        draft = STAMP.with_suffix(".tmp")
        draft.write_text(json.dumps(_stamp(sources)))
        draft.replace(STAMP)


def _settle_order(manifest: Path) -> None:
    """Reflex writes the same manifest in another order after a first build than after a later one;
    a checkout must not look changed for that."""
    written = json.loads(manifest.read_text())
    settled = json.dumps(written, indent=2, sort_keys=True) + "\n"
    with explained(manifest):
        manifest.write_text(settled)


def _failed(log: Path) -> str:
    if tells_of_full_disk(log):
        return (
            f"The disk of {PROJECT_ROOT} is full, so the front end could not be built; it needs "
            "about 300 MB. Free some space and start again."
        )
    tail = last_lines(log)
    return f"The front end could not be built: {tail} The full log is {log}."


def _stamp(sources: str) -> dict[str, str]:
    # The lock apart, because the first build writes it.
    return {"sources": sources, "lock": _digest(sorted(LOCK.glob("*.json")))}


def _sources(settings: Settings) -> str:
    paths = [PROJECT_ROOT / name for name in OTHER_SOURCES]
    paths += _source_files(PROJECT_ROOT / "aisaas", SERVER_ONLY)
    # Reflex links the components' own files into assets/external while it builds.
    paths += _source_files(PROJECT_ROOT / "assets", {"external"})
    values = json.dumps(settings.built_values(), sort_keys=True)
    return hashlib.sha256(f"{_digest(paths)}{values}".encode()).hexdigest()


def _source_files(folder: Path, without: set[str]) -> Generator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in without and "__pycache__" not in parts:
            yield path


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PROJECT_ROOT)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
