"""`db backup` and `db restore`: write the embedded data to one file, and read it back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from aisaas.cli.environment import data_dir
from aisaas.cli.operate.operator import added, agreed
from aisaas.cli.screen import complain, say
from aisaas.db.migrate import SCRIPTS
from childprocess.folder import DataFolder
from devstack.backup import Manifest, backup, look_into, restore

USAGE = 2


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
    parser.epilog = "Back up your own database with your hosting provider's tools."


def execute(arguments: argparse.Namespace) -> int:
    folder = DataFolder(data_dir())
    if arguments.action == "backup":
        return _backup(arguments, folder)
    return _restore(arguments, folder)


def _backup(arguments: argparse.Namespace, folder: DataFolder) -> int:
    manifest = backup(folder, arguments.file.absolute(), replace=arguments.replace)
    size = arguments.file.stat().st_size
    if arguments.json:
        say(json.dumps(_told(manifest) | {"file": str(arguments.file), "bytes": size}))
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
        say(json.dumps(_told(manifest) | {"replaced": str(aside) if aside else None}))
    else:
        say(f"Restored, as of {manifest.made_at}. Start it with `make run`.")
        if aside is not None:
            say(f"The previous data is in {aside}. Delete it when you no longer need it.")
    return 0


def _told(manifest: Manifest) -> dict[str, object]:
    return {
        "made_at": manifest.made_at,
        "format": manifest.format,
        "postgres": manifest.postgres,
        "schema": manifest.schema,
    }
