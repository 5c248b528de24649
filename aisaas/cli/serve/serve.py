"""`serve`: the app in production. Nothing is embedded, built or migrated unless requested.

Invariants: anything that would fail later is refused before the start, and before a restart
replaces anything; SIGTERM ends with 0 once replies are finished or booked as interrupted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from aisaas.cli.build import frontend
from aisaas.cli.environment import configured
from aisaas.cli.parts import TITLES, plan
from aisaas.cli.screen import say
from aisaas.cli.serve.control import Outcome, listening
from aisaas.cli.serve.systemd import READY, STOPPING, Watchdog, notify, reloading
from aisaas.cli.voice import Voice, log_form, voice
from aisaas.db.migrate import missing, upgrade
from aisaas.errors import ConfigurationError, SchemaBehind
from aisaas.observe.pulse import VARIABLE as PULSE
from aisaas.observe.pulse import Pulse
from aisaas.observe.supervision import VARIABLE as SUPERVISION
from aisaas.observe.supervision import write
from aisaas.process.server import app_process
from aisaas.process.workers import Worker, Workers
from aisaas.settings import PROJECT_ROOT, WHERE_TO_GET_IT, Settings
from childprocess.errors import StartError
from childprocess.ports import HOST, is_free, listens, port_holder
from childprocess.processes import Process
from childprocess.supervisor import LOOK_SECONDS, interruptible

# Variables that a worker's supervisor sets, not the operator.
_PORT, _JOBS = "PORT", "RUN_JOBS"
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
# The file to which the supervisor writes its counts.
COUNTED = "supervision.json"
# Characters quoted from a failed check's output.
QUOTED = 800


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=_at_least_one,
        default=1,
        help="number of processes; about one per core (1)",
    )
    parser.add_argument(
        "--host", default=HOST, help=f"where to listen: {HOST} by default, 0.0.0.0 in a container"
    )
    parser.add_argument("--port", type=int, help="the port to listen on, instead of PORT")
    parser.add_argument(
        "--no-jobs", action="store_true", help="leave background jobs to `python -m aisaas worker`"
    )
    parser.add_argument(
        "--migrate",
        action="store_true",
        help="migrate the database first, with MIGRATION_DATABASE_URL",
    )
    parser.add_argument("--check", action="store_true", help="only check whether it can start")
    parser.epilog = (
        "Stops on SIGTERM; running replies can finish within SHUTDOWN_GRACE_SECONDS. "
        "`python -m aisaas reload` (or SIGHUP) replaces all workers, or none, with new ones that run the "
        "current code, pages, and settings. Several workers need TAB_STATES=redis. Build the pages first, "
        "with `python -m aisaas build`."
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
    if arguments.check:
        _require_schema(settings)
        say("Ready to start.")
        return 0
    if arguments.migrate:
        _migrate(settings)
    _require_schema(settings)
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
        raise StartError(
            "The front end isn't built for this release. Run `python -m aisaas build` first."
        )
    return planned.settings


def _migrate(settings: Settings) -> None:
    if settings.migration_database_url is None:
        name = "MIGRATION_DATABASE_URL"
        raise ConfigurationError((f"{name}: is needed for --migrate ({WHERE_TO_GET_IT[name]})",))
    upgrade(settings.migration_database_url.get_secret_value())


def _require_schema(settings: Settings) -> None:
    """Raises SchemaBehind when the database is older than this release."""
    login = settings.service_database_url or settings.database_url
    assert login is not None
    if lacks := missing(login.get_secret_value()):
        raise SchemaBehind(lacks)


def _require_port(port: int) -> None:
    # Workers share theirs, so a second instance would share it unasked.
    if not is_free(port):
        holder = port_holder(port)
        raise StartError(f"Port {port} is in use{f' ({holder})' if holder else ''}.")


def _serve(arguments: argparse.Namespace, settings: Settings, asked: list[int]) -> int:
    with tempfile.TemporaryDirectory(prefix="aisaas-") as folder:
        return _serve_in(Path(folder), arguments, settings, asked)


def _serve_in(
    folder: Path, arguments: argparse.Namespace, settings: Settings, asked: list[int]
) -> int:
    """`folder` is for files shared by supervisor and workers."""
    observed = _observed(folder, arguments.workers)
    secrets = (value for _, value in settings.secrets())
    heard = voice("serve", level=settings.log_level, secrets=secrets)
    numbers = itertools.count(1)
    watchdog = Watchdog()
    workers = Workers(
        arguments.workers,
        lambda number: _worker(
            number, arguments.host, settings, observed, folder / f"{next(numbers)}.pulse"
        ),
        say=heard.say,
        warn=heard.warn,
        changed=lambda: write(folder / COUNTED, workers.supervision),
        beat=watchdog.beat,
    )
    try:
        workers.start()
        pids = ", ".join(map(str, workers.pids))
        heard.say(f"Serving {settings.url} at {arguments.host}:{settings.port}, pids {pids}.")
        notify(READY)
        with listening(settings.aisaas_data_dir, settings.port, heard.warn) as control:
            while True:
                workers.look()
                if asked or control.asked:
                    asked.clear()
                    answer = control.take()
                    answer(_restart(workers, heard))
                control.wait(LOOK_SECONDS)
    except KeyboardInterrupt:
        notify(STOPPING)
        heard.say("Ending: replies in progress may finish.")
    finally:
        workers.stop()
    heard.say("Ended.")
    return 0


def _observed(folder: Path, workers: int) -> dict[str, str]:
    """More variables for workers: JSON log lines by default, the server's own included; where to
    read the supervisor's counts; and, since Prometheus may scrape any worker, a folder where each
    finds the others' counts."""
    env: dict[str, str] = {"LOG_FORMAT": log_form("serve")}
    env[SUPERVISION] = str(folder / COUNTED)
    if env["LOG_FORMAT"] == "json":
        env["GRANIAN_LOG_CONFIG"] = str(PROJECT_ROOT / "aisaas" / "server_logs.json")
    if workers > 1 and MULTIPROCESS not in os.environ:
        figures = folder / "figures"
        figures.mkdir()
        env[MULTIPROCESS] = str(figures)
    return env


@contextmanager
def _restarts() -> Generator[list[int]]:
    """Inside the block SIGHUP only leaves a note."""
    asked: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)


def _restart(workers: Workers, heard: Voice) -> Outcome:
    reloading()
    heard.say("Restarting: every worker is replaced once all new ones serve.")
    try:
        if problem := _unfit(workers):
            workers.give_up()
            heard.warn(f"{problem} The restart is given up; all former workers go on.")
            return Outcome(done=False, said=f"{problem} All former workers go on.")
        if not workers.roll():
            return Outcome(
                done=False,
                said="A new worker didn't come up; its last log lines say why. All former workers go on.",
            )
        pids = ", ".join(map(str, workers.pids))
        return Outcome(done=True, said=f"All workers are new, pids {pids}.")
    finally:
        notify(READY)


def _unfit(workers: Workers) -> str:
    """Why the current code, pages, settings and schema can't serve; empty if they can.

    Uses separate processes, to check the code on disk now, not the code we run.
    """
    again = sys.argv[1:]
    steps = [["migrate"]] if "--migrate" in again else []
    for step in [*steps, [*again, "--check"]]:
        with tempfile.TemporaryFile() as output:
            started = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", "aisaas", *step],
                cwd=PROJECT_ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                while started.poll() is None:
                    # They are looked after meanwhile.
                    workers.look()
                    time.sleep(LOOK_SECONDS)
            finally:
                if started.poll() is None:
                    started.kill()
                    started.wait()
            output.seek(0)
            said = " ".join(output.read().decode(errors="replace").split())[-QUOTED:]
        if started.returncode != 0:
            return f"`{' '.join(step)}` ended with {started.returncode}: {said}"
    return ""


def _worker(
    number: int, host: str, settings: Settings, observed: Mapping[str, str], socket: Path
) -> Worker:
    pulse = Pulse(str(socket))
    service = app_process(
        f"worker{number}",
        f"Worker {number + 1}",
        host=host,
        port=settings.port,
        grace=settings.shutdown_grace_seconds,
        env={**os.environ, **observed, PULSE: pulse.path},
        log=None,
    )
    # Any of them could answer a request on the shared port, so each is checked separately.
    process = Process(
        replace(
            service,
            answers=lambda: pulse.look() and _listens(process, settings.port),
            prepare=pulse.begin,
        )
    )
    return Worker(process, pulse)


def _listens(process: Process, port: int) -> bool:
    if sys.platform != "linux":
        return not is_free(port)
    return process.pid is not None and listens(process.pid, port)
