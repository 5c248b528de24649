"""`db`: back up the embedded data to one file, restore it, or open psql on the running instance."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from aisaas.cli.environment import configured, data_dir, running
from aisaas.cli.instance import Running
from aisaas.cli.operate.operator import added, agreed
from aisaas.cli.screen import complain, say
from aisaas.db.migrate import SCRIPTS
from childprocess.environment import for_server
from childprocess.errors import StartError
from childprocess.folder import DataFolder
from devstack.backup import Manifest, backup, look_into, restore
from devstack.postgres import find_binaries

USAGE = 2
OWNER = "MIGRATION_DATABASE_URL"
# Variables that an interactive psql reads beyond those of any program.
PSQL_READS = ("PAGER", "PSQL_PAGER", "EDITOR", "PSQL_EDITOR", "PSQLRC", "PSQL_HISTORY", "PGOPTIONS")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    there = added(actions, "backup", "write all data of the embedded parts to a file")
    there.add_argument("file", type=Path, help="like backup-2026-11-24.tar.gz")
    there.add_argument("--replace", action="store_true", help="overwrite the file if it exists")
    there.epilog = (
        "Saves accounts, conversations, the ledger, and the Stripe fake's data as of one moment, with or "
        "without a running instance. The file contains secrets: store it as safely as a password. "
        "Redis isn't included, because it holds no money and nothing that needs to last."
    )
    back = added(actions, "restore", "replace the current data with a backup")
    back.add_argument("file", type=Path)
    back.add_argument("--yes", action="store_true", help="don't ask for confirmation")
    back.epilog = (
        "Stop the instance first. The whole file is read and checked before anything changes. The "
        "replaced data is kept in the data folder. The next start updates an older schema."
    )
    for each in (there, back):
        each.add_argument("--json", action="store_true", help="print JSON")
    psql = added(actions, "psql", "open psql on the running instance's database")
    psql.epilog = (
        f"Connects as the owner of the schema ({OWNER}) if the instance knows it, to whom row level "
        "security doesn't apply; otherwise with DATABASE_URL."
    )
    parser.epilog = "Back up your own database with your hosting provider's tools."


def execute(arguments: argparse.Namespace) -> int:
    folder = DataFolder(data_dir())
    if arguments.action == "backup":
        return _backup(arguments, folder)
    if arguments.action == "psql":
        return _psql()
    return _restore(arguments, folder)


def _backup(arguments: argparse.Namespace, folder: DataFolder) -> int:
    manifest = backup(folder, arguments.file.absolute(), replace=arguments.replace)
    size = arguments.file.stat().st_size
    if arguments.json:
        say(json.dumps(_to_dict(manifest) | {"file": str(arguments.file), "bytes": size}))
    else:
        say(f"{arguments.file}: {size / 1e6:,.1f} MB, schema {manifest.schema or 'none'}.")
        say("It contains secrets. Store it as safely as a password.")
    return 0


def _restore(arguments: argparse.Namespace, folder: DataFolder) -> int:
    manifest = look_into(arguments.file)
    if manifest.schema is not None and not any(SCRIPTS.glob(f"versions/{manifest.schema}_*.py")):
        complain(
            f"The backup's schema {manifest.schema} is newer than this release knows. Restore it with "
            "that release or a later one. Nothing was changed."
        )
        return USAGE
    question = f"Replace the data in {folder.path} with the backup of {manifest.made_at}?"
    if not agreed(question, yes=arguments.yes):
        return 1
    aside = restore(arguments.file, folder)
    if arguments.json:
        say(json.dumps(_to_dict(manifest) | {"replaced": str(aside) if aside else None}))
    else:
        say(f"Restored, as of {manifest.made_at}. Start it with `make run`.")
        if aside is not None:
            say(f"The previous data is in {aside}. Delete it when you no longer need it.")
    return 0


def _psql() -> int:
    instance = running()
    if instance is None:
        complain(
            f"No instance is running with the data folder {data_dir()}. Start one with `make run`."
        )
        return 1
    program = _find_psql()
    if program is None:
        complain("No psql was found beside the embedded Postgres or on PATH. Install PostgreSQL's.")
        return 1
    return _become_psql(program, _owners_url(instance))


def _become_psql(program: str, url: str) -> NoReturn:
    """psql takes the place of this process, so that the terminal and its signals are psql's."""
    parts = urlsplit(url)
    env = for_server() | {name: os.environ[name] for name in PSQL_READS if name in os.environ}
    # In the environment, because everyone on the machine can read the arguments of a process.
    env |= {"PGHOST": parts.hostname or "", "PGPORT": str(parts.port or 5432)}
    env |= {"PGUSER": unquote(parts.username or ""), "PGPASSWORD": unquote(parts.password or "")}
    env |= {"PGDATABASE": parts.path.lstrip("/")}
    os.execve(program, ["psql"], env)  # noqa: S606  # our own argument list, no shell


def _owners_url(instance: Running) -> str:
    return instance.env.get(OWNER) or configured().get(OWNER) or instance.database_url


def _find_psql() -> str | None:
    """PostgreSQL's own terminal: beside the embedded server, else on PATH."""
    try:
        beside = find_binaries() / "psql"
    except StartError:
        return shutil.which("psql")
    return str(beside) if beside.is_file() else shutil.which("psql")


def _to_dict(manifest: Manifest) -> dict[str, object]:
    return {
        "made_at": manifest.made_at,
        "format": manifest.format,
        "postgres": manifest.postgres,
        "schema": manifest.schema,
    }
