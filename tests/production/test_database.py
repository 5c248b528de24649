"""A database that isn't fit for production is reported: its logins, roles, schema and poolers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from aisaas.cli.checklist import database
from aisaas.cli.checklist.database import connections
from aisaas.db import engine
from aisaas.settings import Settings
from tests.production.conftest import Configure, Found, by_item

PASSWORD = "of a login for one test"


def _look(config: Settings) -> Found:
    with connections(config) as to:
        return by_item(database.look(config, to))


def _as(config: Settings, login: str) -> str:
    """The address of the same database for another login."""
    assert config.database_url is not None
    parts = urlsplit(config.database_url.get_secret_value())
    password = PASSWORD.replace(" ", "%20")
    return parts._replace(
        netloc=f"{login}:{password}@{parts.hostname}:{parts.port}",
    ).geturl()


@pytest.fixture
def login(superuser: psycopg.Connection) -> Generator[str]:
    """A login like app_rw, to be given too much."""
    name = f"launch_{uuid4().hex}"
    role = sql.Identifier(name)
    superuser.execute(
        sql.SQL("create role {} login noinherit password {}").format(role, sql.Literal(PASSWORD))
    )
    superuser.execute(sql.SQL("grant anon, authenticated to {}").format(role))
    yield name
    superuser.execute(sql.SQL("drop owned by {}").format(role))
    superuser.execute(sql.SQL("drop role {}").format(role))


def test_fresh_install_is_fit(configure: Configure) -> None:
    found = _look(configure())
    assert [each for each in found.values() if each.state != "ok"] == []


# Logins


def test_login_made_as_it_should_be_is_fit(configure: Configure, login: str) -> None:
    found = _look(configure(database_url=_as(configure(), login)))["login of requests"]
    assert (found.state, login in found.said) == ("ok", True)


@pytest.mark.parametrize(
    ("too_much", "said"),
    [
        ("alter role {} superuser", "superuser"),
        ("alter role {} bypassrls", "bypasses row level security"),
        ("alter role {} createrole", "may create roles"),
        ("grant service_role to {}", "may act as service_role"),
        ("grant postgres to {}", "may act as"),
        ("grant select on profiles to {}", "reaches profiles without an identity"),
        ("alter role {} inherit; grant authenticated to {} with inherit true", "is it noinherit"),
    ],
)
def test_login_of_requests_that_can_do_more_is_reported(
    too_much: LiteralString,
    said: str,
    configure: Configure,
    superuser: psycopg.Connection,
    login: str,
) -> None:
    role = sql.Identifier(login)
    for statement in too_much.split("; "):
        superuser.execute(sql.SQL(statement).format(role))
    found = _look(configure(database_url=_as(configure(), login)))["login of requests"]
    assert found.state == "failed"
    assert said in found.said
    assert "DATABASE_URL" in found.said
    assert PASSWORD not in str(found)


def test_login_that_may_not_act_as_it_must_is_reported(
    configure: Configure, superuser: psycopg.Connection, login: str
) -> None:
    superuser.execute(sql.SQL("revoke authenticated from {}").format(sql.Identifier(login)))
    with connections(configure(database_url=_as(configure(), login))) as to:
        found = by_item(database._logins(configure(), to))["login of requests"]
    assert found.state == "failed"
    assert found.fix == f"grant authenticated to {login};"


def test_requests_must_not_use_the_role_postgres(configure: Configure) -> None:
    config = configure()
    found = _look(configure(database_url=config.migration_database_url))["login of requests"]
    assert found.state == "failed"
    assert "bypasses row level security" in found.said


def test_one_login_for_both_is_reported(configure: Configure, login: str) -> None:
    found = _look(configure(service_database_url=None))["login of the service"]
    assert found.state == "failed"
    assert "SERVICE_DATABASE_URL is not set" in found.said


# Roles


def test_role_of_transactions_that_can_do_more_is_reported(
    configure: Configure, superuser: psycopg.Connection
) -> None:
    superuser.execute("alter role anon createdb")
    try:
        found = _look(configure())["roles"]
    finally:
        superuser.execute("alter role anon nocreatedb")
    assert found.state == "failed"
    assert "anon may create databases" in found.said


def test_role_that_owns_a_table_is_reported(
    configure: Configure, superuser: psycopg.Connection
) -> None:
    superuser.execute("alter table conversations owner to authenticated")
    found = _look(configure())["roles"]
    assert found.state == "failed"
    assert "authenticated owns conversations" in found.said


# Schema


@pytest.mark.parametrize(
    ("breaking", "said", "fix"),
    [
        (
            "update private.alembic_version set version_num = '0001'",
            "the database is at 0001, the newest is",
            "aisaas migrate",
        ),
        ("drop table private.alembic_version", "the database is at none", "aisaas migrate"),
        (
            "update private.alembic_version set version_num = '9999'",
            "9999, which this release doesn't know",
            "deploy the release",
        ),
    ],
)
def test_schema_of_another_release_is_reported(
    breaking: LiteralString, said: str, fix: str, configure: Configure, owner: psycopg.Connection
) -> None:
    owner.execute(breaking)
    found = _look(configure())["migrations"]
    assert found.state == "failed"
    assert said in found.said
    assert fix in found.fix


def test_everything_is_reported_without_the_owners_password(configure: Configure) -> None:
    found = _look(configure(migration_database_url=None))
    assert [each for each in found.values() if each.state != "ok"] == []


# Poolers and the way there


@pytest.mark.parametrize(
    ("addresses", "state", "said"),
    [
        ({"migration_database_url": "postgresql://p:p@db.example.com:6543/p"}, "failed", "lock"),
        (
            {"database_url": "postgresql://p:p@db.project.supabase.co:5432/p"},
            "warning",
            "DATABASE_URL: not the transaction pooler",
        ),
        (
            {"database_url": "postgresql://p:p@pooler.supabase.com:6543/p"},
            "ok",
            "the transaction pooler",
        ),
    ],
)
def test_address_of_the_wrong_pooler_is_reported(
    addresses: dict[str, Any], state: str, said: str, configure: Configure
) -> None:
    found = database._pooler(configure(**addresses))
    assert found.state == state
    assert said in found.said


def test_driver_that_prepares_statements_is_reported(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = engine.create_async_engine

    def preparing(url: str, **options: Any) -> Any:
        options["connect_args"]["prepare_threshold"] = 1
        return make(url, **options)

    monkeypatch.setattr(engine, "create_async_engine", preparing)
    found = _look(configure())["prepared statements"]
    assert found.state == "failed"
    assert "break behind a transaction pooler" in found.said


def test_plain_connection_over_the_internet_is_reported(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "is_near", lambda _: False)
    found = _look(configure())["database connection"]
    assert found.state == "failed"
    assert "DATABASE_URL, SERVICE_DATABASE_URL, MIGRATION_DATABASE_URL" in found.said
