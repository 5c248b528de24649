"""The embedded parts together: which there are, in what order they start, what they offer.

`run` holds one Stack for as long as the product runs; tests hold one and cause outages with it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from childprocess.environment import for_python
from childprocess.errors import StartError
from childprocess.files import last_lines
from childprocess.folder import DataFolder
from childprocess.ports import HOST, answers_http, free_port, is_free
from childprocess.processes import Process, Service, run
from devstack import postgres, valkey
from devstack.postgres import Postgres
from devstack.secrets import folder_secrets
from devstack.valkey import Valkey

AUTH = "auth"
DEMO_MODEL = "demo_model"
PAYMENTS = "payments"
TITLES = {
    postgres.NAME: postgres.TITLE,
    valkey.NAME: valkey.TITLE,
    AUTH: "Sign-in server",
    DEMO_MODEL: "Demo model",
    PAYMENTS: "Payments (Stripe fake)",
}
# In the order in which they start; they stop the other way round.
PARTS = tuple(TITLES)
PORT_ATTEMPTS = 3
# The sign-in server's second port, where the product's own mails go; by this name it is remembered.
SMTP = "smtp"
MAIL_FROM = "mail@example.com"
# Mails lead to the product's own page, which asks before it uses the link up: mail scanners follow
# links too. Supabase's mail templates can be set to the same.
MAIL_LINK = "{site_url}/confirm?token_hash={token_hash}&type={type}&redirectTo={redirect_path}"
# The product's routes for events and for thin events about its meter.
WEBHOOK = "/api/webhooks/stripe"
METER_WEBHOOK = "/api/webhooks/stripe/meters"
# Variables that each part may get from our environment besides the stack's. APP_ENV, because none
# of them starts outside development.
AUTH_VARIABLES = (
    *("APP_ENV", "AUTH_MAIL_INTERVAL", "AUTH_JWT_TTL", "AUTH_SECURE_EMAIL_CHANGE"),
    *("AUTH_SECURE_PASSWORD_CHANGE", "AUTH_PASSWORD_KIB", "AUTH_PASSWORD_MINIMUM"),
)
DEMO_VARIABLES = ("APP_ENV", "DEMO_TOKENS_PER_SECOND")
PAYMENTS_VARIABLES = ("APP_ENV", "PAYMENTS_STRICT")

Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Captcha:
    """A captcha which the sign-in server asks for: `turnstile` or `hcaptcha`, verified at a URL."""

    provider: str
    secret: str = field(repr=False)
    verify_url: str


class Stack:
    """The wanted parts, with their data in `data_dir`.

    `env` is filled by `start` and says where everything is and with what keys, under the names
    that the product's settings use. What concerns accounts is what a Supabase project is set to:
    `autoconfirm` spares new addresses their confirmation, `redirect_origins` may be led to besides
    the site, `mail_interval` is the least number of seconds between two mails of a kind (without
    it, AUTH_MAIL_INTERVAL of the environment counts, else a minute). The stack holds the lock of
    the folder from `start` to `stop`.
    """

    def __init__(
        self,
        data_dir: Path,
        parts: Collection[str] = PARTS,
        *,
        site_url: str = "http://127.0.0.1:3000",
        autoconfirm: bool = True,
        sign_up_open: bool = True,
        oauth_providers: Sequence[str] = (),
        redirect_origins: Collection[str] = (),
        captcha: Captcha | None = None,
        mail_interval: int | None = None,
        avoid_ports: Collection[int] = (),
    ) -> None:
        if unknown := set(parts) - set(PARTS):
            raise ValueError(f"no such part: {sorted(unknown)}")
        if AUTH in parts and postgres.NAME not in parts:
            raise ValueError("the sign-in server keeps its users in the embedded Postgres")
        self.folder = DataFolder(data_dir)
        self.parts = tuple(name for name in PARTS if name in parts)
        self.env: dict[str, str] = {}
        # Empty for a variable that is to have its default, whatever this process was started with.
        self._auth_env = {
            "AUTH_SITE_URL": site_url,
            "AUTH_REDIRECT_URLS": ",".join(f"{origin}/**" for origin in redirect_origins),
            "AUTH_AUTOCONFIRM": _word(autoconfirm),
            "AUTH_DISABLE_SIGNUP": _word(not sign_up_open),
            "AUTH_PROVIDERS": ",".join(oauth_providers),
            "AUTH_CAPTCHA_PROVIDER": captcha.provider if captcha else "",
            "AUTH_CAPTCHA_SECRET": captcha.secret if captcha else "",
            "AUTH_CAPTCHA_VERIFY_URL": captcha.verify_url if captcha else "",
            "AUTH_MAIL_LINK": MAIL_LINK,
        }
        self._site_url = site_url
        if mail_interval is not None:
            self._auth_env["AUTH_MAIL_INTERVAL"] = str(mail_interval)
        self._avoid = set(avoid_ports)
        self._secrets: dict[str, str] = {}
        self._postgres: Postgres | None = None
        self.processes: dict[str, Process] = {}
        self._ports: dict[str, int] = {}

    @property
    def pids(self) -> dict[str, int]:
        return {name: p.pid for name, p in self.processes.items() if p.pid is not None}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # All of them

    def start(self, part: str | None = None, *, step: Step = lambda _: nullcontext()) -> None:
        """Start everything, or one part again on the port it had.

        Raises:
            StartError: it failed; parts started meanwhile are stopped.
        """
        if part is not None:
            self.processes[part].start()
            return
        self.folder.prepare()
        self.folder.lock()
        try:
            has_data = postgres.data_path(self.folder).exists()
            self._secrets = folder_secrets(
                self.folder, kept=has_data and postgres.NAME in self.parts
            )
            self.env["SESSION_SECRET"] = self._secrets["session_secret"]
            for name in self.parts:
                with step(TITLES[name]):
                    self._start_first_time(name)
            self._remember_ports()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop everything, last started first, and let go of the folder."""
        for name in reversed(list(self.processes)):
            self.stop(name)
        self.folder.unlock()

    def stop(self, part: str | None = None) -> None:
        """Stop one part in an orderly way, or everything."""
        if part is None:
            self.close()
        else:
            self.processes[part].stop()

    # Outages

    def kill(self, part: str) -> None:
        """End a part like a crash does; `start(part)` brings it back on the same port."""
        self.processes[part].kill()

    def pause(self, part: str) -> None:
        """Freeze a part: its port still accepts connections, but doesn't answer."""
        self.processes[part].pause()

    def resume(self, part: str) -> None:
        self.processes[part].resume()

    # One by one

    def _start_first_time(self, name: str) -> None:
        starters: dict[str, Callable[..., Process]] = {
            postgres.NAME: self._start_postgres,
            valkey.NAME: self._start_valkey,
            AUTH: self._start_auth,
            DEMO_MODEL: self._start_demo_model,
            PAYMENTS: self._start_payments,
        }
        for attempt in range(1, PORT_ATTEMPTS + 1):
            ports = self._free_ports(name, SMTP) if name == AUTH else self._free_ports(name)
            try:
                self.processes[name] = starters[name](*ports.values())
            except StartError:
                # Another process took a port between our check and the start: a rare race.
                if attempt < PORT_ATTEMPTS and not all(map(is_free, ports.values())):
                    continue
                raise
            self._ports |= ports
            self._avoid.update(ports.values())
            return

    def _start_postgres(self, port: int) -> Process:
        self._postgres = Postgres(self.folder, self._secrets, port)
        self._postgres.prepare()
        with _undone(self._postgres.process):
            self._postgres.start()
        self.env |= {
            "DATABASE_URL": self._postgres.url("app_rw"),
            "SERVICE_DATABASE_URL": self._postgres.url("app_service"),
            "MIGRATION_DATABASE_URL": self._postgres.url("postgres"),
        }
        return self._postgres.process

    def _start_valkey(self, port: int) -> Process:
        server = Valkey(self.folder, self._secrets, port)
        with _undone(server.process):
            server.start()
        self.env["REDIS_URL"] = server.url
        return server.process

    def _start_auth(self, port: int, smtp_port: int) -> Process:
        assert self._postgres is not None
        url = f"http://{HOST}:{port}"
        env = {
            **for_python(*AUTH_VARIABLES),
            **self._auth_env,
            "AUTH_DATABASE_URL": self._postgres.url("supabase_auth_admin"),
            "AUTH_PORT": str(port),
            "AUTH_SMTP_PORT": str(smtp_port),
            "AUTH_PUBLIC_URL": url,
            "AUTH_PUBLISHABLE_KEY": self._secrets["publishable_key"],
            "AUTH_SECRET_KEY": self._secrets["secret_key"],
        }
        log = self.folder.log(AUTH)
        argv = [sys.executable, "-m", "devstack.auth"]
        if run([*argv, "--migrate"], env=env, cwd=_source_root(), log=log) != 0:
            raise StartError(
                f"The tables of the sign-in server could not be made: {last_lines(log)} "
                f"(log: {log})"
            )
        process = self._python(AUTH, port, argv, env, "/auth/v1/health")
        self.env |= {
            "SUPABASE_URL": url,
            "SUPABASE_PUBLISHABLE_KEY": self._secrets["publishable_key"],
            "SUPABASE_SECRET_KEY": self._secrets["secret_key"],
            "MAILBOX_URL": f"{url}/mailbox",
            "SMTP_URL": f"smtp://{HOST}:{smtp_port}",
            "MAIL_FROM": MAIL_FROM,
        }
        return process

    def _start_demo_model(self, port: int) -> Process:
        key = self._secrets["demo_key"]
        env = for_python(*DEMO_VARIABLES) | {"DEMO_PORT": str(port), "DEMO_API_KEY": key}
        argv = [sys.executable, "-m", "devstack.demo_model"]
        process = self._python(DEMO_MODEL, port, argv, env, "/health")
        self.env |= {"DEMO_API_BASE": f"http://{HOST}:{port}/v1", "DEMO_API_KEY": key}
        return process

    def _start_payments(self, port: int) -> Process:
        url, secrets = f"http://{HOST}:{port}", self._secrets
        env = for_python(*PAYMENTS_VARIABLES) | {
            "PAYMENTS_PORT": str(port),
            "PAYMENTS_DATA_DIR": str(self.folder.path / PAYMENTS),
            "PAYMENTS_KEY": secrets["payments_key"],
            "PAYMENTS_WEBHOOK_URL": f"{self._site_url}{WEBHOOK}",
            "PAYMENTS_WEBHOOK_SECRET": secrets["webhook_secret"],
            "PAYMENTS_THIN_WEBHOOK_URL": f"{self._site_url}{METER_WEBHOOK}",
            "PAYMENTS_THIN_WEBHOOK_SECRET": secrets["meter_webhook_secret"],
        }
        argv = [sys.executable, "-m", "devstack.stripe_fake"]
        process = self._python(PAYMENTS, port, argv, env, "/health")
        self.env |= {
            "STRIPE_SECRET_KEY": secrets["payments_key"],
            "STRIPE_API_BASE": url,
            "STRIPE_WEBHOOK_SECRET": secrets["webhook_secret"],
            "STRIPE_METER_WEBHOOK_SECRET": secrets["meter_webhook_secret"],
            "PAYMENTS_URL": url,
        }
        return process

    def _python(
        self, name: str, port: int, argv: list[str], env: Mapping[str, str], health: str
    ) -> Process:
        process = Process(
            Service(
                name=name,
                title=TITLES[name],
                port=port,
                argv=argv,
                env=env,
                cwd=_source_root(),
                log=self.folder.log(name),
                answers=lambda: answers_http(port, health),
                stop_signal=signal.SIGTERM,
            )
        )
        with _undone(process):
            process.start()
        return process

    # Ports: the same at each start where possible, since links in mails carry them

    def _free_ports(self, *names: str) -> dict[str, int]:
        former, found = self._former_ports(), dict[str, int]()
        for name in names:
            found[name] = free_port(self._avoid | set(found.values()), former.get(name))
        return found

    def _former_ports(self) -> dict[str, int]:
        if not (self.folder.path / "ports.json").exists():
            return {}
        return self.folder.read_json("ports.json")

    def _remember_ports(self) -> None:
        self.folder.write_json("ports.json", self._former_ports() | self._ports)


def _word(value: bool) -> str:
    return "true" if value else "false"


@contextmanager
def _undone(process: Process) -> Generator[None]:
    """Stop a process whose start was interrupted or failed, before anybody holds it."""
    try:
        yield
    except BaseException:
        process.stop()
        raise


def _source_root() -> Path:
    return Path(__file__).resolve().parents[1]
