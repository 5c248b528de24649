"""`serve`: the app in production. Nothing is embedded, built or migrated unless that is asked for.

Invariants: whatever would fail later is refused before anything starts, and before a restart
replaces anything; SIGTERM ends with 0 once replies are finished or booked as interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from aisaas import logs
from aisaas.bench.server import app_process
from aisaas.cli import frontend
from aisaas.cli.environment import configured
from aisaas.cli.parts import plan
from aisaas.cli.screen import say
from aisaas.cli.workers import Say, Workers
from aisaas.db.migrate import missing, upgrade
from aisaas.embedded.errors import StackError
from aisaas.embedded.processes import HOST, Process, is_free, listens, port_holder
from aisaas.embedded.stack import TITLES
from aisaas.embedded.supervisor import LOOK_SECONDS, interruptible
from aisaas.errors import ConfigurationError, SchemaBehind
from aisaas.settings import PROJECT_ROOT, WHERE_TO_GET_IT, Settings

# What a worker is told by its supervisor rather than by the operator.
_PORT, _JOBS = "PORT", "RUN_JOBS"
_COUNTED = "PROMETHEUS_MULTIPROC_DIR"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=_at_least_one, default=1, help="processes; about one for each core"
    )
    parser.add_argument(
        "--host", default=HOST, help=f"where to listen: {HOST} unless set, 0.0.0.0 in a container"
    )
    parser.add_argument("--port", type=int, help="instead of PORT")
    parser.add_argument(
        "--no-jobs", action="store_true", help="leave the jobs to `python -m aisaas worker`"
    )
    parser.add_argument(
        "--migrate",
        action="store_true",
        help="bring the database to the newest schema first, with MIGRATION_DATABASE_URL",
    )
    parser.add_argument("--check", action="store_true", help="only check whether it can start")
    parser.epilog = (
        "SIGTERM ends it: replies in progress finish within SHUTDOWN_GRACE_SECONDS. SIGHUP replaces "
        "the workers one at a time by new ones with the code, pages and settings that are there "
        "then. Several workers need TAB_STATES=redis. Build the pages before, with "
        "`python -m aisaas build`."
    )


def execute(arguments: argparse.Namespace) -> int:
    if arguments.port is not None:
        os.environ[_PORT] = str(arguments.port)
    if arguments.no_jobs:
        os.environ[_JOBS] = "false"
    # From the start: an early SIGHUP must not be the end.
    with interruptible(), _restarts() as asked:
        return _check_and_serve(arguments, asked)


def _check_and_serve(arguments: argparse.Namespace, asked: list[int]) -> int:
    settings = _fit(arguments)
    _bring_schema(settings, migrate=arguments.migrate and not arguments.check)
    if arguments.check:
        say("Ready to start.")
        return 0
    _require_port(settings.port)
    return _serve(arguments, settings, asked)


def _at_least_one(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least one")
    return count


def _fit(arguments: argparse.Namespace) -> Settings:
    """The settings, if they and the pages are fit to serve with."""
    planned = plan(configured())
    problems = [
        f"{TITLES[part]}: is not configured, and `serve` starts nothing of its own; "
        "`python -m aisaas run` does"
        for part in planned.embedded
    ]
    if arguments.workers > 1 and planned.settings.tab_states != "redis":
        problems.append(
            "TAB_STATES: must be redis with several workers, since the next connection of a page "
            "may come to another of them"
        )
    if arguments.workers > 1 and sys.platform != "linux":
        problems.append("--workers: several share one port on Linux only")
    if problems:
        raise ConfigurationError(tuple(problems))
    if not frontend.is_current(planned.settings):
        raise StackError(
            "The front end isn't built for this release. Run `python -m aisaas build` first."
        )
    return planned.settings


def _bring_schema(settings: Settings, *, migrate: bool) -> None:
    """Raises SchemaBehind when the database is older than this release and `migrate` is off."""
    if migrate:
        if settings.migration_database_url is None:
            name = "MIGRATION_DATABASE_URL"
            where = WHERE_TO_GET_IT[name]
            raise ConfigurationError((f"{name}: is needed for --migrate ({where})",))
        upgrade(settings.migration_database_url.get_secret_value())
    login = settings.service_database_url or settings.database_url
    assert login is not None
    if lacks := missing(login.get_secret_value()):
        raise SchemaBehind(lacks)


def _require_port(port: int) -> None:
    # Workers share theirs, so a second instance would share it unasked.
    if not is_free(port):
        holder = port_holder(port)
        raise StackError(f"Port {port} is in use{f' ({holder})' if holder else ''}.")


def _serve(arguments: argparse.Namespace, settings: Settings, asked: list[int]) -> int:
    with _observed(arguments.workers) as observed:
        return _serve_observed(arguments, settings, observed, asked)


@contextmanager
def _observed(workers: int) -> Generator[dict[str, str]]:
    """What workers are told besides: lines for machines unless it is said otherwise, the server's own,
    too; and, as Prometheus comes to any of them, a folder in which each finds what the others have
    counted."""
    env = {"LOG_FORMAT": configured().get("LOG_FORMAT") or "json"}
    if env["LOG_FORMAT"] == "json":
        env["GRANIAN_LOG_CONFIG"] = str(PROJECT_ROOT / "aisaas" / "server_logs.json")
    if workers == 1 or _COUNTED in os.environ:
        yield env
        return
    with tempfile.TemporaryDirectory(prefix="aisaas-figures-") as folder:
        yield env | {_COUNTED: folder}


def _serve_observed(
    arguments: argparse.Namespace,
    settings: Settings,
    observed: Mapping[str, str],
    asked: list[int],
) -> int:
    tell = _teller(settings) if observed["LOG_FORMAT"] == "json" else say
    workers = Workers(
        arguments.workers,
        lambda number: _worker(number, arguments.host, settings, observed),
        say=tell,
    )
    try:
        workers.start()
        pids = ", ".join(map(str, workers.pids))
        tell(f"Serving {settings.url} at {arguments.host}:{settings.port}, pids {pids}.")
        while True:
            workers.look()
            if asked:
                asked.clear()
                _restart(workers, tell)
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        tell("Ending: replies in progress may finish.")
    finally:
        workers.stop()
    tell("Ended.")
    return 0


def _teller(settings: Settings) -> Say:
    """Says it in a line like those of the workers."""
    secrets = (value for _, value in settings.secrets())
    logs.configure(settings.log_level, secrets, form="json")
    return logging.getLogger(__name__).info


@contextmanager
def _restarts() -> Generator[list[int]]:
    """Inside the block SIGHUP only leaves a note."""
    asked: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)


def _restart(workers: Workers, tell: Say) -> None:
    tell("Restarting, one worker at a time.")
    # By processes of their own: what is looked at is the code that is there now, not what we run.
    again = sys.argv[1:]
    steps = [["migrate"]] if "--migrate" in again else []
    for step in [*steps, [*again, "--check"]]:
        command = [sys.executable, "-m", "aisaas", *step]
        if subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode != 0:  # noqa: S603
            tell("The restart is given up; the workers there are go on.")
            return
    workers.roll()


def _worker(number: int, host: str, settings: Settings, observed: Mapping[str, str]) -> Process:
    service = app_process(
        f"worker{number}",
        f"Worker {number + 1}",
        host=host,
        port=settings.port,
        grace=settings.shutdown_grace_seconds,
        env={**os.environ, **observed},
        log=None,
    )
    # Any of them would answer a question on their port, so each is looked at by itself.
    process = Process(replace(service, answers=lambda: _listens(process, settings.port)))
    return process


def _listens(process: Process, port: int) -> bool:
    if sys.platform != "linux":
        return not is_free(port)
    return process.pid is not None and listens(process.pid, port)
