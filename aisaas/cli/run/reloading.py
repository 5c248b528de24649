"""`run --reload`: restarts the app when its source files change.

Invariants: a change that no page can contain restarts the app only, and any other change builds the front
end first; code that doesn't build or start is reported, and the next change tries again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from aisaas.cli.screen import say, step
from aisaas.settings import PROJECT_ROOT
from childprocess.errors import StartError
from childprocess.processes import Process
from childprocess.supervisor import LOOK_SECONDS, Supervisor

# The sources of a process of the app. Settings and the other parts need a new start of `run`.
FOLDERS = ("aisaas", "childprocess", "assets")
FILES = ("rxconfig.py",)
# Reflex links components into assets/external while it builds.
GENERATED = {"__pycache__", "external"}

# Path -> when it was last written, and its size.
Fingerprint = dict[Path, tuple[int, int]]


class Reloader:
    """Watches source files below `root`, and restarts `app` when they change.

    `build` brings the front end up to date, and `reloaded` is called when the app is back.
    """

    def __init__(
        self,
        app: Process,
        *,
        build: Callable[[], None],
        reloaded: Callable[[], None],
        root: Path = PROJECT_ROOT,
    ) -> None:
        self._app = app
        self._build = build
        self._reloaded = reloaded
        self._root = root
        self._loaded = self._seen = fingerprint(root)

    def look(self) -> None:
        """Reload once the files have changed and are as they were at the last look."""
        before, self._seen = self._seen, fingerprint(self._root)
        # Editors and git write several files, and some write a file in several steps.
        if self._seen == self._loaded or self._seen != before:
            return
        say(f"Changed: {_listed(_changed(self._loaded, self._seen), self._root)}")
        self._loaded = self._seen
        try:
            self._build()
        except StartError as error:
            say(f"{error} The app keeps running with its former code. Waiting for the next change.")
            return
        self._restart()

    def _restart(self) -> None:
        try:
            with step("App"):
                self._app.stop()
                self._app.start()
        except StartError as error:
            # From here on the supervisor leaves it alone: only a change can help.
            self._app.stop()
            say(f"{error} Waiting for the next change.")
        else:
            self._reloaded()


def watch(supervisor: Supervisor, reloader: Reloader) -> None:
    """Restart what dies and what has changed, until KeyboardInterrupt."""
    while True:
        supervisor.look()
        reloader.look()
        time.sleep(LOOK_SECONDS)


def fingerprint(root: Path) -> Fingerprint:
    """The source files below `root`, and what changes when one is written."""
    found: Fingerprint = {}
    for path in _sources(root):
        try:
            facts = path.stat()
        except FileNotFoundError:
            # An editor replaces it at this moment; the next look sees the new one.
            continue
        found[path] = (facts.st_mtime_ns, facts.st_size)
    return found


def _sources(root: Path) -> Iterable[Path]:
    yield from (root / name for name in FILES)
    for name in FOLDERS:
        for folder, below, files in os.walk(root / name):
            below[:] = [each for each in below if each not in GENERATED]
            yield from (Path(folder, file) for file in files if not _is_draft(file))


def _is_draft(name: str) -> bool:
    """Whether an editor keeps it beside the file it edits."""
    return name.startswith(".") or name.endswith(("~", ".tmp", ".swp"))


def _changed(before: Fingerprint, now: Fingerprint) -> list[Path]:
    return sorted({path for path, _ in before.items() ^ now.items()})


def _listed(paths: list[Path], root: Path) -> str:
    first = paths[0].relative_to(root).as_posix()
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
