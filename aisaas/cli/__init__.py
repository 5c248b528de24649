"""The commands. Each module has `configure(parser)` and `execute(arguments) -> exit code`.

Invariant: only the chosen command's module is imported, so that `--help` and `status` are instant;
an error is one paragraph on stderr, and its stack trace goes to a log.
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

from aisaas import __version__
from aisaas.cli.screen import complain
from aisaas.errors import AisaasError, ConfigurationError
from childprocess.errors import StartError
from childprocess.files import explain

# The module below this package, and what the command does.
COMMANDS = {
    "run": ("run.run", "start everything on this machine and run until Ctrl-C"),
    "serve": (
        "serve.serve",
        "serve the app with your own services, in one or more workers, until SIGTERM",
    ),
    "reload": ("serve.reload", "replace all workers of the running `serve`, or none"),
    "stop": ("run.stop", "stop the running instance"),
    "status": ("run.status", "show the running instance and its parts"),
    "check": ("checklist.check", "validate the settings and connect to every service"),
    "migrate": ("serve.migrate", "update the database schema"),
    "worker": ("serve.worker", "run the background jobs: recovery, and reporting usage to Stripe"),
    "switch": (
        "operate.switch",
        "kill switch: stop new calls for everything, a plan, a model, or a provider",
    ),
    "caps": ("operate.caps", "show or set the daily spending caps for free accounts and in total"),
    "models": (
        "operate.models",
        "list models and their margins; set their availability, plans, weight, and price",
    ),
    "invite": ("operate.invite", "invite someone by email"),
    "admin": ("operate.admin", "list, grant, or revoke the admin role"),
    "user": ("operate.user", "show a user's plan, usage, and billing"),
    "usage": ("operate.usage", "export usage, or check the dashboard's totals against the ledger"),
    "credits": ("operate.credits", "grant a user credits, in quota tokens"),
    "outbox": (
        "operate.outbox",
        "list, resend, or resolve usage that is stuck on its way to Stripe",
    ),
    "reconcile": (
        "operate.reconcile",
        "compare usage and plans with Stripe, and correct differences",
    ),
    "webhooks": ("operate.webhooks", "list Stripe webhook events that failed, or replay them"),
    "jobs": ("operate.jobs", "list or retry items that background jobs have set aside"),
    "stripe": (
        "operate.stripe",
        "set up the Stripe account for the plans, or verify how it bills in test mode",
    ),
    "db": ("run.db", "back up or restore the embedded data, or open psql"),
    "shell": ("operate.shell", "open a Python prompt with the services of the running instance"),
    "seed": ("run.seed", "create a month of sample users and usage, for demos and screenshots"),
    "bench": ("bench", "run the benchmarks"),
    "build": ("build.build", "build the front end if its sources have changed"),
}
# Packages of a checkout that production doesn't have.
NOT_IN_THE_IMAGE = {"devstack": "the development stack", "benchmarks": "the benchmarks"}
INTERRUPTED = 130
FAILED = 1


def main(argv: Sequence[str]) -> int:
    """Run one command and return the exit code."""
    # The error is printed as one sentence below. Log lines are for services, which set logging up.
    logging.getLogger("aisaas").addHandler(logging.NullHandler())
    try:
        arguments = parse(argv)
        command = _module(arguments.command)
    except ModuleNotFoundError as error:
        if (sentence := _not_in_the_image(error)) is None:
            raise
        complain(sentence)
        return FAILED
    return _guarded(command, arguments)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """What the words mean; ends the process with 2 and a usage line when they mean nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m aisaas",
        description="An AI chat behind a billing firewall. Settings come from the environment "
        "and .env; .env.example lists all of them.",
    )
    parser.add_argument("--version", action="version", version=f"aisaas {__version__}")
    choices = parser.add_subparsers(dest="command", required=True, metavar="command")
    chosen = next((word for word in argv if word in COMMANDS), None)
    for name, (_, text) in COMMANDS.items():
        subparser = choices.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == chosen:
            _module(name).configure(subparser)
    return parser.parse_args(argv)


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"aisaas.cli.{COMMANDS[command][0]}")


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


def _not_in_the_image(error: Exception) -> str | None:
    """A message if the missing module is one of those packages."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    needed = NOT_IN_THE_IMAGE.get((error.name or "").partition(".")[0])
    return needed and (
        f"This command needs {needed}, which isn't part of a production image. "
        "Run it in a checkout, after `make venv-run`."
    )


def _complain_of(error: Exception) -> None:
    if sentence := _not_in_the_image(error):
        complain(sentence)
    elif isinstance(error, ConfigurationError):
        complain("The settings are not fit to start with:")
        for problem in error.problems:
            complain(f"  {problem}")
        complain("Set them in the environment or in .env; .env.example explains each.")
    elif isinstance(error, StartError | AisaasError):
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
