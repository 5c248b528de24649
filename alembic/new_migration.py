"""Writes the migration that follows from the classes of tables and from the files beside this one.

Compares them with a database that has all migrations so far, which exists for this alone.
Usage: python alembic/new_migration.py "add a column"
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from aisaas.db.autogenerate import write_migration
from aisaas.db.migrate import SCRIPTS, upgrade
from devstack.stack import AUTH, Stack

CHECKED = ("--fix", "--extend-select=I,F401")


def main(words: list[str]) -> int:
    message = " ".join(words).strip().rstrip(".")
    if not message:
        sys.stderr.write('Say what changes: make migration m="add a column"\n')
        return 2
    with (
        TemporaryDirectory(prefix="aisaas-migration-") as folder,
        Stack(Path(folder), ("postgres", AUTH)) as stack,
    ):
        url = stack.env["MIGRATION_DATABASE_URL"]
        upgrade(url)
        written = write_migration(url, f"{message[0].upper()}{message[1:]}.")
    if not written:
        sys.stdout.write(
            "The classes and files are as the migrations made them. Nothing was written.\n"
        )
        return 0
    tidy(written[0])
    for path in written:
        sys.stdout.write(f"{path.relative_to(SCRIPTS.parent)}\n")
    return 0


def tidy(migration: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    for command in ([*ruff, "check", "--quiet", *CHECKED], [*ruff, "format", "--quiet"]):
        subprocess.run([*command, migration], check=True)  # noqa: S603  # our own checker


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
