"""`run`: everything on this machine, from nothing to a served page, until Ctrl-C.

Invariant: cheap checks come before long steps, and whatever was started is stopped in order, also
when a later step fails.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from aisaas.cli.build import frontend
from aisaas.cli.environment import configured, data_dir
from aisaas.cli.instance import Running
from aisaas.cli.parts import AUTH, PAYMENTS, POSTGRES, TITLES, VALKEY, Plan, plan
from aisaas.cli.run import reloading
from aisaas.cli.run.reloading import Reloader
from aisaas.cli.screen import say, step
from aisaas.db.migrate import is_current
from aisaas.errors import DependencyError
from aisaas.process.server import app_process
from aisaas.settings import PROJECT_ROOT, Settings, load
from childprocess.environment import for_python
from childprocess.errors import StartError
from childprocess.files import last_lines
from childprocess.folder import DataFolder
from childprocess.ports import is_free, port_holder
from childprocess.processes import Process, Service
from childprocess.processes import run as run_to_end
from childprocess.supervisor import Supervisor, impatient, interruptible
from devstack.stack import Stack

APP = "app"
# Variables that `migrate` takes from the environment.
MIGRATE_READS = ("MIGRATION_DATABASE_URL", "AISAAS_DATA_DIR")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Starts every part that isn't configured (DATABASE_URL, REDIS_URL, SUPABASE_URL, a model provider, "
        "STRIPE_SECRET_KEY) on this machine, with its data in AISAAS_DATA_DIR. PORT is 3000 by default."
    )
    parser.add_argument(
        "--reload",
        action="store_true",
        help="restart the app when a source file changes, and build the front end first if pages changed",
    )


def execute(arguments: argparse.Namespace) -> int:
    with interruptible():
        return _run(reload=arguments.reload)


def _run(*, reload: bool) -> int:
    planned = plan(configured())
    port = planned.settings.port
    stack = stack_for(planned)
    stack.folder.prepare()
    stack.folder.lock()
    try:
        _require_port(port)
        return _start_and_watch(stack, reload=reload)
    finally:
        stack.folder.forget_description()
        stack.folder.unlock()


def stack_for(planned: Plan) -> Stack:
    """The embedded parts of a plan, with the operator's settings."""
    settings = planned.settings
    return Stack(
        data_dir(),
        planned.embedded,
        site_url=settings.url,
        autoconfirm=not settings.embedded_confirm_email,
        sign_up_open=settings.sign_up_mode == "open",
        oauth_providers=settings.oauth_providers,
        redirect_origins=settings.origins,
        avoid_ports=[settings.port],
    )


def _require_port(port: int) -> None:
    if not is_free(port):
        holder = port_holder(port)
        raise StartError(
            f"Port {port} is in use{f' ({holder})' if holder else ''}. Stop that, or choose "
            f"another with `PORT={port + 1} make run`. Nothing was started."
        )


def _start_and_watch(stack: Stack, *, reload: bool) -> int:
    say("Starting")
    started: list[Process] = []
    with ExitStack() as undo:
        undo.callback(_stop, started)
        try:
            stack.start(step=step)
            started += stack.processes.values()
            env = _environment(stack)
            settings = load()
            _migrate(stack.folder, env, settings)
            _build(settings, stack.folder)
            app = Process(_app(settings, stack.folder, env))
            started.append(app)
            app.spawn()
            # While it loads.
            _sell(settings, stack)
            with step("App"):
                app.wait_until_it_answers()
            described = _Description(stack, settings, app)
            described.write()
            described.show()
            supervisor = Supervisor(started, say=say, changed=described.write)
            if reload:
                reloading.watch(supervisor, _reloader(app, settings, stack.folder, described))
            else:
                supervisor.watch()
        except KeyboardInterrupt:
            say("\nStopping after running replies finish.")
    say("Stopped.")
    return 0


def _stop(started: list[Process]) -> None:
    with impatient(started):
        for process in reversed(started):
            process.stop()


def _environment(stack: Stack) -> dict[str, str]:
    """The environment of every child and of this process: the operator's values win over the
    parts'."""
    added = {name: v for name, v in stack.env.items() if name not in configured()}
    os.environ.update(added)
    os.environ["EMBEDDED_PARTS"] = ",".join(stack.parts)
    return dict(os.environ)


def _migrate(folder: DataFolder, env: Mapping[str, str], settings: Settings) -> None:
    if "MIGRATION_DATABASE_URL" not in env and "MIGRATION_DATABASE_URL" not in configured():
        say("  Database schema: not migrated, because MIGRATION_DATABASE_URL isn't set.")
        return
    if _is_migrated(settings):
        return
    log = folder.log("migrate")
    with step("Database schema"):
        command = [sys.executable, "-m", "aisaas", "migrate"]
        if run_to_end(command, env=for_python(*MIGRATE_READS), cwd=PROJECT_ROOT, log=log) != 0:
            raise StartError(
                f"The database could not be brought to the newest schema: {last_lines(log)} "
                f"(log: {log})"
            )


def _is_migrated(settings: Settings) -> bool:
    try:
        return is_current(_reveal(settings.service_database_url))
    except DependencyError:
        # Migrating explains it.
        return False


def _sell(settings: Settings, stack: Stack) -> None:
    """Put the plans on sale at the Stripe fake; a real account is only touched on request."""
    if PAYMENTS in stack.parts:
        from aisaas.adapters.stripe_catalogue import sync  # noqa: PLC0415  # slow to import

        with step("Plans on sale"):
            asyncio.run(sync(settings))


def _build(settings: Settings, folder: DataFolder) -> None:
    if frontend.is_current(settings):
        return
    title = "Front end" if frontend.CLIENT.exists() else "Front end (the first takes a minute)"
    with step(title):
        frontend.build(settings, folder)


def _reloader(
    app: Process, settings: Settings, folder: DataFolder, described: _Description
) -> Reloader:
    return Reloader(app, build=lambda: _build(settings, folder), reloaded=described.write)


def _app(settings: Settings, folder: DataFolder, env: Mapping[str, str]) -> Service:
    return app_process(
        APP,
        "App",
        port=settings.port,
        grace=settings.shutdown_grace_seconds,
        env=env,
        log=folder.log(APP),
    )


@dataclass(frozen=True, slots=True)
class _Description:
    """The running instance, for `status` and for the screen."""

    stack: Stack
    settings: Settings
    app: Process

    def write(self) -> None:
        settings, stack = self.settings, self.stack
        stack.folder.describe(
            asdict(
                Running(
                    url=settings.url,
                    database_url=_reveal(settings.database_url),
                    service_database_url=_reveal(settings.service_database_url),
                    redis_url=_reveal(settings.redis_url),
                    auth_url=f"{settings.supabase_url}/auth/v1",
                    mailbox_url=settings.mailbox_url,
                    model_base=settings.demo_api_base,
                    payments_url=settings.payments_url,
                    data_dir=str(stack.folder.path),
                    pids={**stack.pids, APP: self.app.pid or 0, "supervisor": os.getpid()},
                    env={**stack.env, "EMBEDDED_PARTS": ",".join(stack.parts)},
                )
            )
        )

    def show(self) -> None:
        settings, embedded = self.settings, self.stack.parts
        real = {
            POSTGRES: ("Database", _reveal(settings.database_url)),
            VALKEY: ("Redis", _reveal(settings.redis_url)),
            AUTH: ("Sign-in", settings.supabase_url or ""),
            PAYMENTS: ("Payments", settings.stripe_api_base or "https://api.stripe.com"),
        }
        say(f"\n  Open {settings.url}\n")
        say(f"  Embedded   {', '.join(TITLES[name] for name in embedded) or 'nothing'}")
        for name, (title, address) in real.items():
            if name not in embedded:
                say(f"  {title:<10} {urlsplit(address).hostname}")
        say(f"  Models     {', '.join(sorted(settings.providers()))}")
        say(f"  Data       {self.stack.folder.path}")
        if AUTH in embedded:
            say("  Accounts   the first account becomes an admin")
        say(f"  Mail       {self._mail()}")
        if settings.payments_url:
            say(
                f"  Payments   {settings.payments_url}  (no money moves; you can move the clock there)"
            )
        say("  Stop       Ctrl-C\n")

    def _mail(self) -> str:
        settings = self.settings
        own = _reveal(settings.smtp_url)
        by = f"are sent by {urlsplit(own).hostname}" if own else "are off: SMTP_URL is not set"
        if not settings.mailbox_url:
            return f"mails about billing {by}"
        if own == self.stack.env.get("SMTP_URL"):
            return f"{settings.mailbox_url}  (nothing is sent; read it there)"
        return f"{settings.mailbox_url}  (mails about sign-in; mails about billing {by})"


def _reveal(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
