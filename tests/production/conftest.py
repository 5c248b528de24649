"""An install to break: a database of its own on the embedded server for each test, and the rest."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis
import yaml
from psycopg import sql

from aisaas.cli.checklist import cache
from aisaas.cli.checklist.database import Connections, connections
from aisaas.cli.checklist.findings import Finding
from aisaas.db.migrate import upgrade
from aisaas.settings import PROJECT_ROOT, Settings, load
from childprocess.ports import free_port
from devstack.stack import Stack
from devstack.valkey import _binary

# The least that a Supabase database has.
SUPABASE = """
    create schema auth;
    create table auth.users (id uuid primary key, email text, raw_user_meta_data jsonb);
    create function auth.uid() returns uuid language sql stable as $$
      select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
    grant usage on schema auth to anon, authenticated, service_role;
"""
LOGINS = ("DATABASE_URL", "SERVICE_DATABASE_URL", "MIGRATION_DATABASE_URL")

# Fixtures by which a database is altered.
OWNERS = {"owner", "superuser"}

Configure = Callable[..., Settings]
Found = dict[str, Finding]


def by_item(found: Iterator[Finding]) -> Found:
    listed = list(found)
    assert len({each.item for each in listed}) == len(listed)
    # Whatever isn't well says what to do about it.
    assert all(each.fix for each in listed if each.state != "ok")
    return {each.item: each for each in listed}


def _elsewhere(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


@contextmanager
def _made(stack: Stack, template: str) -> Generator[str]:
    name = f"launch_{uuid4().hex}"
    # Reconnected for the end: tests of outages restart the server meanwhile.
    with psycopg.connect(_as_superuser(stack, "postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} owner postgres").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    try:
        yield name
    finally:
        with psycopg.connect(_as_superuser(stack, "postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            )


def _as_superuser(stack: Stack, database: str) -> str:
    assert stack._postgres is not None
    return _elsewhere(stack._postgres.url("supabase_admin"), database)


@pytest.fixture(scope="session")
def migrated(stack: Stack) -> Generator[str]:
    """A database like a hosted one after its first deployment, with nobody in it."""
    with _made(stack, "template1") as name:
        url = _elsewhere(stack.env["MIGRATION_DATABASE_URL"], name)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SUPABASE)
        upgrade(url)
        yield name


@pytest.fixture(scope="session")
def shared(stack: Stack, migrated: str) -> Generator[str]:
    """For tests that only look. (Nobody may be connected to the one that is copied.)"""
    with _made(stack, migrated) as name:
        yield name


@pytest.fixture
def database_name(stack: Stack, migrated: str) -> Generator[str]:
    with _made(stack, migrated) as name:
        yield name


@pytest.fixture
def configure(stack: Stack, request: pytest.FixtureRequest) -> Configure:
    """Settings of the embedded install, with a database of its own for tests that break or fill it;
    others by keyword."""
    alters = OWNERS & set(request.fixturenames)
    database_name: str = request.getfixturevalue("database_name" if alters else "shared")

    def make(**others: object) -> Settings:
        values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
        values |= {name.lower(): _elsewhere(stack.env[name], database_name) for name in LOGINS}
        values |= {"embedded_parts": ",".join(stack.parts), "stripe_secret_key": None}
        return load(**(values | others))

    return make


@pytest.fixture
def owner(stack: Stack, database_name: str) -> Generator[psycopg.Connection]:
    """Who may break it."""
    url = _elsewhere(stack.env["MIGRATION_DATABASE_URL"], database_name)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def superuser(stack: Stack, database_name: str) -> Generator[psycopg.Connection]:
    with psycopg.connect(_as_superuser(stack, database_name), autocommit=True) as connection:
        yield connection


@pytest.fixture
def people(owner: psycopg.Connection) -> None:
    """Two who signed up, one with a conversation: there is something to be seen."""
    for _ in range(2):
        owner.execute(
            "insert into auth.users (id, email) values (gen_random_uuid(), 'a@b.example')"
        )
    owner.execute(
        "insert into conversations (user_id, model) select id, 'demo' from profiles limit 1"
    )


@pytest.fixture
def opened(configure: Configure) -> Generator[Connections]:
    with connections(configure()) as to:
        yield to


@pytest.fixture
def composed_redis(tmp_path: Path) -> Generator[str]:
    """The Redis of compose.yaml, by its own command; its address."""
    password, port = "0123456789abcdef", free_port()
    composed = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())
    shell, flags, script = composed["services"]["redis"]["command"]
    assert (shell, flags) == ("sh", "-ec")
    script = (
        script.replace("$$", "$").replace("/tmp", str(tmp_path)).replace("/data", str(tmp_path))
    )
    # The server keeps to its own name; the port is the test's.
    script = script.replace("valkey-server", f"{_binary()}").rstrip() + f" --port {port}"
    running = subprocess.Popen(
        [shell, flags, script], env={"PATH": os.defpath, "REDIS_PASSWORD": password}
    )
    url = f"redis://:{password}@127.0.0.1:{port}/0"

    try:
        deadline = time.monotonic() + 20
        while not _lets_in(url):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield url
    finally:
        running.terminate()
        running.wait(20)


def _lets_in(url: str) -> bool:
    with cache.connect(url) as client:
        try:
            return bool(client.ping())  # pyright: ignore[reportUnknownMemberType]
        except redis.ConnectionError:
            return False
