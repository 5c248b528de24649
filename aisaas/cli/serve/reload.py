"""`reload`: have the running `serve` replace its workers, and say whether it did."""

from __future__ import annotations

import argparse

from aisaas.cli.environment import configured, data_dir
from aisaas.cli.screen import complain, say
from aisaas.cli.serve import control
from aisaas.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="the port of `serve`, instead of PORT")
    parser.epilog = (
        "Returns once every worker has been replaced and runs the current code, pages, and settings. Exits "
        "with 1 if the restart was given up; then all former workers go on."
    )


def execute(arguments: argparse.Namespace) -> int:
    port = arguments.port or int(configured().get("PORT") or Settings.model_fields["port"].default)
    outcome = control.reload(data_dir(), port)
    (say if outcome.done else complain)(outcome.said)
    return 0 if outcome.done else 1
