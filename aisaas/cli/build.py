"""`build`: make the front end without starting anything, for an image or a release."""

from __future__ import annotations

import argparse

from aisaas.cli import frontend
from aisaas.cli.environment import adopt, data_dir, running
from aisaas.cli.screen import say, step
from aisaas.embedded.folder import DataFolder
from aisaas.settings import load


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="also when nothing has changed")
    parser.epilog = "Needs the same settings as the app, and searches the result for secrets."


def execute(arguments: argparse.Namespace) -> int:
    adopt(running())
    settings = load()
    if frontend.is_current(settings) and not arguments.force:
        say("The front end is up to date.")
        return 0
    folder = DataFolder(data_dir())
    folder.prepare()
    with step("Front end"):
        frontend.build(settings, folder)
    return 0
