"""The commands. Each module has `configure(parser)` and `execute(arguments) -> exit code`.

Invariant: only the chosen command's module is imported, so that `--help` and `status` are instant;
what goes wrong is one paragraph on stderr, and its stack trace goes to a log.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from aisaas.cli.screen import complain
from aisaas.embedded.errors import StackError
from aisaas.embedded.folder import explain
from aisaas.errors import AisaasError, ConfigurationError

COMMANDS = {
    "run": "start everything on this machine and run until Ctrl-C",
    "serve": "serve the app with your own services, in one or more workers, until SIGTERM",
    "reload": "replace all workers of the running `serve`, or none",
    "stop": "stop the running instance",
    "status": "show the running instance and its parts",
    "check": "validate the settings and connect to every service",
    "migrate": "update the database schema",
    "worker": "run the background jobs: recovery, and reporting usage to Stripe",
    "switch": "kill switch: stop new calls for everything, a plan, a model, or a provider",
    "caps": "show or set the daily spending caps for free accounts and in total",
    "models": "list models and their margins; set their availability, plans, weight, and price",
    "invite": "invite someone by email",
    "admin": "list, grant, or revoke the admin role",
    "user": "show a user's plan, usage, and billing",
    "usage": "export usage, or check the dashboard's totals against the ledger",
    "credits": "grant a user credits, in quota tokens",
    "outbox": "list, resend, or resolve usage that is stuck on its way to Stripe",
    "reconcile": "compare usage and plans with Stripe, and correct differences",
    "webhooks": "list Stripe webhook events that failed, or replay them",
    "jobs": "list or retry items that background jobs have set aside",
    "stripe": "set up the Stripe account for the plans, or verify how it bills in test mode",
    "db": "back up the embedded data to a file, or restore it",
    "seed": "create a month of sample users and usage, for demos and screenshots",
    "bench": "run the benchmarks",
    "build": "build the front end if its sources have changed",
}
INTERRUPTED = 130
FAILED = 1


def main(argv: Sequence[str]) -> int:
    """Run one command and return the exit code."""
    # What went wrong is one sentence below. Lines of the log are for what serves, which sets it up.
    logging.getLogger("aisaas").addHandler(logging.NullHandler())
    arguments = parse(argv)
    return _guarded(importlib.import_module(f"aisaas.cli.{arguments.command}"), arguments)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """What the words mean; ends the process with 2 and a usage line when they mean nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m aisaas",
        description="An AI chat behind a billing firewall. Settings come from the environment "
        "and .env; .env.example lists all of them.",
    )
    choices = parser.add_subparsers(dest="command", required=True, metavar="command")
    chosen = next((word for word in argv if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        subparser = choices.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == chosen:
            importlib.import_module(f"aisaas.cli.{name}").configure(subparser)
    return parser.parse_args(argv)


def _guarded(command: ModuleType, arguments: argparse.Namespace) -> int:
    try:
        return command.execute(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last line of defence; the trace is kept
        # Here, so that help is instant.
        from aisaas.cli import voice  # noqa: PLC0415

        for_people = getattr(arguments, "check", False)
        if not for_people and voice.log_form(arguments.command) == "json":
            voice.failed(arguments.command, error)
        else:
            _complain_of(error)
    return FAILED


def _complain_of(error: Exception) -> None:
    if isinstance(error, ConfigurationError):
        complain("The settings are not fit to start with:")
        for problem in error.problems:
            complain(f"  {problem}")
        complain("Set them in the environment or in .env; .env.example explains each.")
    elif isinstance(error, StackError | AisaasError):
        _log_trace()
        complain(str(error))
    elif isinstance(error, OSError):
        where = _log_trace()
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            complain(explain(error, Path.cwd()))
        else:
            complain(f"Something unexpected went wrong: {error}. {where}")
    else:
        where = _log_trace()
        complain(f"Something unexpected went wrong: {type(error).__name__}: {error}. {where}")


def _log_trace() -> str:
    """Keep the stack trace where a developer finds it; say where."""
    from aisaas.cli.environment import data_dir  # noqa: PLC0415  # reads .env; not for --help

    path = data_dir() / "logs" / "errors.log"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%S%z')} {sys.argv[1:]}\n")
            log.write(traceback.format_exc())
    except OSError as error:
        return f"The stack trace could not be kept either: {error}."
    return f"The stack trace is in {path}."
