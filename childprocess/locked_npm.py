"""npm for the front end's build: installs exactly what the committed lock says.

Reflex installs by `npm install` and `npm add`, which resolve newer releases and rewrite the lock. Here
the first becomes `npm ci`, the second only checks that the lock has the requested packages, and any
change of the lock fails with a message how to change it on purpose.

Run as a script, with nothing of the project imported: `locked_npm.py NODE NPM_CLI arguments…` in the
folder of package.json and package-lock.json. WHY_IT_FAILED names a file for the reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

WHY_IT_FAILED = "WHY_IT_FAILED"
REMEDY = (
    "Run `python -m aisaas build --update-lock` where packages may be fetched, look at what changed in "
    "reflex.lock/, and commit it."
)
ADDING = {"add", "install", "i"}
REMOVING = {"remove", "uninstall", "rm"}
# npm's message when manifest and lock don't belong together.
OUT_OF_STEP = "EUSAGE"


def main(arguments: list[str]) -> int:
    node, npm, *asked = arguments
    command, packages = asked[0] if asked else "", _packages(asked[1:])
    if command in ADDING and not packages:
        return _install(node, npm)
    if command in ADDING:
        lacks = [package for package in packages if not _is_locked(package)]
        return _refuse(f"reflex.lock/ lacks {', '.join(sorted(lacks))}.") if lacks else 0
    if command in REMOVING:
        return _refuse(f"reflex.lock/ has {', '.join(sorted(packages))}, which no page needs.")
    return os.execv(node, [node, npm, *asked])  # noqa: S606  # no shell is the point


def _packages(arguments: list[str]) -> list[str]:
    """The arguments that aren't options; one of Reflex's options has a separate value."""
    return [
        word
        for before, word in zip(["", *arguments], arguments, strict=False)
        if not word.startswith("-") and before != "--loglevel"
    ]


def _install(node: str, npm: str) -> int:
    # None of the locked packages has a script to run; one that came to have one shall not.
    command = [node, npm, "ci", "--legacy-peer-deps", "--ignore-scripts"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    sys.stderr.write(done.stderr)
    if done.returncode != 0 and OUT_OF_STEP in done.stderr:
        return _refuse("reflex.lock/package-lock.json doesn't fit reflex.lock/package.json.")
    return done.returncode


def _is_locked(package: str) -> bool:
    """Whether the lock has `name` or `name@version`, and as a direct dependency."""
    name, _, version = package[1:].partition("@")
    name = package[0] + name
    packages = json.loads(Path("package-lock.json").read_text("utf-8"))["packages"]
    root, found = packages.get("", {}), packages.get(f"node_modules/{name}")
    declared = {**root.get("dependencies", {}), **root.get("devDependencies", {})}
    if found is None or name not in declared:
        return False
    return not version or found.get("version") == version.removeprefix("v")


def _refuse(what: str) -> int:
    if path := os.environ.get(WHY_IT_FAILED):
        Path(path).write_text(f"{what} {REMEDY}", "utf-8")
    sys.stderr.write(f"{what} {REMEDY}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
