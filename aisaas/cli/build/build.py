"""`build`: make the front end without starting anything, for an image or a release.

An image is built where no secret is. Without settings only those are known that a page contains; the
search for the others' values is then `check --production`'s, where the image runs.
"""

from __future__ import annotations

import argparse

from aisaas.cli.build import frontend
from aisaas.cli.environment import adopt, configured, data_dir, running
from aisaas.cli.parts import plan
from aisaas.cli.screen import say, step
from aisaas.settings import load
from childprocess.folder import DataFolder


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="build even if nothing has changed")
    parser.add_argument(
        "--update-lock",
        action="store_true",
        help="let npm resolve the packages that the pages need, and write them to reflex.lock/",
    )
    parser.epilog = (
        "The build contains APP_NAME and no other setting. It installs exactly the packages in "
        "reflex.lock/, and searches the result for secrets: the values of the secrets that are set, and "
        "anything that looks like a key."
    )


def execute(arguments: argparse.Namespace) -> int:
    instance = running()
    adopt(instance)
    settings = load() if instance else plan(configured()).settings
    again = arguments.force or arguments.update_lock
    if frontend.is_current(settings) and not again:
        say("The front end is up to date.")
        return 0
    folder = DataFolder(data_dir())
    folder.prepare()
    with step("Front end"):
        frontend.build(settings, folder, update_lock=arguments.update_lock)
    return 0
