"""Fails if a migration since BASE renames or drops what the release at BASE still uses.

That release runs on the new schema while it is being replaced, and again after a rollback.
Usage: python3 deploy/backward_compatible.py BASE
"""

from __future__ import annotations

import re
import subprocess
import sys

MIGRATIONS = "alembic/versions"
# What migrations apply; these change.
FILES = ("alembic/functions", "alembic/tables")
# Where a release names tables, columns, and functions. Its migrations don't count: they have already run.
CODE = ("aisaas", "rxconfig.py")
RENAMES = re.compile(
    r"\balter (?:table|view|materialized view|type|function|schema|sequence)\b[^;]*?\brename\b[^;]*"
    r"|\bop\.rename_table\b[^)]*|\bnew_column_name\b[^)]*"
)
DROPPED_OBJECTS = re.compile(
    r"\bdrop (?:table|view|materialized view|function|type|schema|sequence) (?:if exists )?([^;]*)"
)
DROPPED_COLUMN = re.compile(
    r"\bdrop (?!constraint\b|not null\b|default\b|identity\b|expression\b|trigger\b|policy\b)"
    r"(?:column )?(?:if exists )?(\w+)"
)
DROPPED_BY_ALEMBIC = re.compile(r"\bop\.drop_(?:table|column)\(([^)]*)\)")
CREATED = re.compile(r"\bcreate (?:or replace )?(?:function|view|table|type) (?:\w+\.)?(\w+)")


def main(base: str) -> int:
    found = [problem for path in _added(base) for problem in problems(_upgrade_of(path), base)]
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return 1 if found else 0


def problems(text: str, base: str) -> list[str]:
    """What would break the release at `base` after the migration `text`, one sentence each."""
    found = [
        f"Renames: {_short(match[0])}. Instead, add the new name, copy the data, and drop the old name a release later."
        for match in RENAMES.finditer(text)
    ]
    for name in sorted(_dropped(text)):
        if users := _users(name, base):
            found.append(
                f"Drops {name}, which the release at {base} uses in {', '.join(users[:3])}. First "
                "release code that doesn't use it, then the migration."
            )
    return found


def _dropped(text: str) -> set[str]:
    """Names that no longer exist after the migration, without their schema."""
    found: set[str] = set()
    for statement in text.split(";"):
        for listed in DROPPED_OBJECTS.findall(statement):
            # `drop function a(int), b.c cascade`
            for name in re.sub(r"\([^)]*\)", "", listed).split(","):
                found.update(re.findall(r"^\s*(?:\w+\.)?(\w+)", name))
        if re.search(r"\balter table\b", statement):
            found.update(DROPPED_COLUMN.findall(statement))
    for arguments in DROPPED_BY_ALEMBIC.findall(text):
        # The table itself, or the column after it.
        found.update(re.findall(r"\w+", arguments)[:2][-1:])
    return found - set(CREATED.findall(text))


def _users(name: str, base: str) -> list[str]:
    command = ["git", "grep", "--files-with-matches", "--word-regexp", name, base, "--", *CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return [line.removeprefix(f"{base}:") for line in done.stdout.splitlines()]


def _added(base: str) -> list[str]:
    diff = ["diff", "--no-renames", "--name-only"]
    added = _git(*diff, "--diff-filter=A", base, "HEAD", "--", MIGRATIONS)
    applied = _git(*diff, "--diff-filter=AM", base, "HEAD", "--", *FILES)
    return [*added.splitlines(), *applied.splitlines()]


def _upgrade_of(path: str) -> str:
    """The upgrade part of a migration, in lower case, on one line, without comments."""
    text = _git("show", f"HEAD:{path}").partition("\ndef downgrade")[0].lower().replace('"', "")
    return " ".join(re.sub(r"--[^\n]*|#[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL).split())


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607


def _short(text: str) -> str:
    return text if len(text) < 80 else f"{text[:77]}..."  # noqa: PLR2004


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
