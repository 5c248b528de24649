"""The database: reached over TLS, through the right pooler, at the newest schema, with logins that
have no more rights than they need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import TupleRow
from pydantic import SecretStr
from sqlalchemy import text

from aisaas.cli.checklist.configuration import is_near
from aisaas.cli.checklist.findings import Finding, fail, first, ok, warn
from aisaas.db.engine import DatabasePool
from aisaas.db.grants import ROLES
from aisaas.db.migrate import alembic_config
from aisaas.errors import DependencyError
from aisaas.settings import Settings

CONNECT_SECONDS = 5
TRANSACTION_POOLER = 6543
# More repetitions than a driver needs before it prepares a statement automatically.
REPETITIONS = 8
# The roles that each login may become; any other is more than it needs.
REQUESTS_MAY_BE = frozenset({"anon", "authenticated"})
SERVICE_MAY_BE = frozenset({"service_role"})
ATTRIBUTES = {
    "rolsuper": "superuser",
    "rolbypassrls": "bypasses row level security",
    "rolcreaterole": "may create roles",
    "rolcreatedb": "may create databases",
    "rolreplication": "may replicate",
}
MAKE_LOGINS = "create the two logins as in docs/deploy.md, and use them in the addresses"

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True)
class Connections:
    """One of each login. `owner` is None where MIGRATION_DATABASE_URL isn't set: its password is
    needed for migrations only, and belongs where those run."""

    requests: Connection
    service: Connection
    owner: Connection | None

    @property
    def catalog(self) -> Connection:
        """The connection for reading what isn't secret."""
        return self.owner or self.requests


@contextmanager
def connections(config: Settings) -> Generator[Connections]:
    """Connect as each login. Raises psycopg.Error."""
    requests = _reveal(config.database_url)
    service = _reveal(config.service_database_url) or requests
    owner = _reveal(config.migration_database_url)
    with _connect(requests) as first_, _connect(service) as second:
        if not owner:
            yield Connections(first_, second, None)
            return
        with _connect(owner) as third:
            yield Connections(first_, second, third)


def _reveal(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _connect(url: str) -> Connection:
    return psycopg.connect(
        url, connect_timeout=CONNECT_SECONDS, autocommit=True, prepare_threshold=None
    )


def look(config: Settings, to: Connections) -> Generator[Finding]:
    yield _encrypted(config, to)
    yield _pooler(config)
    yield _never_prepared(config)
    yield migrated(to)
    yield from _logins(config, to)
    yield _roles(to)


def _encrypted(config: Settings, to: Connections) -> Finding:
    named = {
        "DATABASE_URL": (config.database_url, to.requests),
        "SERVICE_DATABASE_URL": (config.service_database_url, to.service),
        "MIGRATION_DATABASE_URL": (config.migration_database_url, to.owner),
    }
    plain = [
        name
        for name, (url, connection) in named.items()
        if url and connection and not connection.pgconn.ssl_in_use
    ]
    if plain and not is_near(_reveal(config.database_url)):
        return fail(
            "database connection",
            f"{', '.join(plain)}: not encrypted",
            "enforce SSL at the database and add ?sslmode=require to the addresses",
        )
    how = "not encrypted, in a private network" if plain else "encrypted"
    version = to.requests.info.server_version // 10_000
    return ok("database connection", f"PostgreSQL {version}, {how}")


def _pooler(config: Settings) -> Finding:
    owner = _reveal(config.migration_database_url)
    if owner and urlsplit(owner).port == TRANSACTION_POOLER:
        return fail(
            "pooler",
            "MIGRATION_DATABASE_URL uses the transaction pooler, but migrations hold a lock for "
            "their whole session",
            "use the address of the direct connection or of the session pooler (port 5432)",
        )
    hosted = [
        name
        for name, url in (
            ("DATABASE_URL", config.database_url),
            ("SERVICE_DATABASE_URL", config.service_database_url),
        )
        if (urlsplit(_reveal(url)).hostname or "").endswith((".supabase.co", ".supabase.com"))
        and urlsplit(_reveal(url)).port != TRANSACTION_POOLER
    ]
    if hosted:
        return warn(
            "pooler",
            f"{' and '.join(hosted)}: not the transaction pooler, so each connection of the app "
            "uses one of the database's few",
            f"use the address of the transaction pooler (port {TRANSACTION_POOLER})",
        )
    port = urlsplit(_reveal(config.database_url)).port or 5432
    said = (
        "the transaction pooler"
        if port == TRANSACTION_POOLER
        else f"port {port}, not a Supabase host"
    )
    return ok("pooler", said)


def _never_prepared(config: Settings) -> Finding:
    try:
        prepared = asyncio.run(_prepared(_reveal(config.database_url)))
    except DependencyError as error:
        return fail("prepared statements", str(error), "make sure that the database is running")
    if prepared:
        return fail(
            "prepared statements",
            f"{prepared} left on the connection: they break behind a transaction pooler",
            "set prepare_threshold to None where aisaas/db/engine.py connects",
        )
    return ok("prepared statements", f"none after {REPETITIONS} repetitions")


async def _prepared(url: str) -> int:
    """How many there are after the app's own connection repeated a statement often enough to prepare it."""
    login = DatabasePool(url)
    try:
        async with login.transaction("anon") as session:
            for _ in range(REPETITIONS):
                await session.execute(text("select 1"))
            rows = await session.execute(text("select count(*) from pg_prepared_statements"))
            return rows.scalar_one()
    finally:
        await login.close()


def migrated(to: Connections) -> Finding:
    # Imported here: slow, and only this needs it.
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory.from_config(alembic_config())
    head = scripts.get_current_head()
    known = {script.revision for script in scripts.walk_revisions()}
    try:
        with to.service.transaction():
            to.service.execute("select set_config('role', 'service_role', true)")
            query = "select version_num from private.alembic_version"
            row = to.service.execute(query).fetchone()
    except (
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.UndefinedTable,
        # Migrated by a release that didn't grant this to the service.
        psycopg.errors.InsufficientPrivilege,
        # Not a Supabase database, so the role doesn't exist.
        psycopg.errors.InvalidParameterValue,
    ):
        row = None
    found = str(row[0]) if row else "none"
    if found == head:
        return ok("migrations", f"at {head}, the newest")
    if row and found not in known:
        return fail(
            "migrations",
            f"the database is at {found}, which this release doesn't know",
            "deploy the release that created it; schemas are never downgraded",
        )
    return fail(
        "migrations",
        f"the database is at {found}, the newest is {head}",
        "run `python -m aisaas migrate`",
    )


def _logins(config: Settings, to: Connections) -> Generator[Finding]:
    for item, variable, connection, may_be in (
        ("login of requests", "DATABASE_URL", to.requests, REQUESTS_MAY_BE),
        ("login of the service", "SERVICE_DATABASE_URL", to.service, SERVICE_MAY_BE),
    ):
        login = str(_one(connection, "select session_user::text"))
        too_much = _too_much(to.catalog, login)
        becomes = [
            str(name)
            for (name,) in to.catalog.execute(
                "select rolname::text from pg_roles where rolname <> %(login)s"
                " and pg_has_role(%(login)s, oid, 'member') order by 1",
                {"login": login},
            )
        ]
        if item == "login of the service" and config.service_database_url is None:
            yield fail(
                item,
                "SERVICE_DATABASE_URL is not set, so it is the same as the login of requests",
                MAKE_LOGINS,
            )
            continue
        if missing := sorted(may_be - set(becomes)):
            yield fail(
                item,
                f"{login} may not act as {', '.join(missing)}",
                f"grant {', '.join(missing)} to {login};",
            )
            continue
        if not too_much and (more := [name for name in becomes if name not in may_be]):
            too_much = [f"may act as {first(more)}"]
        if not too_much and item == "login of requests":
            too_much = _holds_itself(to.catalog, login)
        if too_much:
            yield fail(item, f"{variable}: {login} {' and '.join(too_much)}", MAKE_LOGINS)
            continue
        yield ok(item, f"{login}: not a superuser, may only act as {' and '.join(sorted(may_be))}")


def _roles(to: Connections) -> Finding:
    """The roles that transactions run as. service_role is meant to bypass row level security."""
    wrong = {
        role: found
        for role in ROLES
        if (
            found := [
                attribute
                for attribute in _too_much(to.catalog, role)
                if not (role == "service_role" and attribute == ATTRIBUTES["rolbypassrls"])
            ]
        )
    }
    owned = [
        f"{owner} owns {table}"
        for table, owner in to.catalog.execute(
            "select c.oid::regclass::text, pg_get_userbyid(c.relowner) from pg_class c"
            " where c.relnamespace in ("
            "   select oid from pg_namespace where nspname in ('public', 'private'))"
            " and c.relkind in ('r', 'p', 'v', 'm', 'f')"
            " and pg_get_userbyid(c.relowner) = any(%s) order by 1",
            [list(ROLES)],
        )
    ]
    if wrong or owned:
        said = [f"{role} {' and '.join(found)}" for role, found in wrong.items()] + owned
        return fail(
            "roles",
            first(said),
            "alter role … nosuperuser nobypassrls nocreaterole nocreatedb noreplication; "
            "make postgres the owner of the tables",
        )
    return ok("roles", f"{', '.join(ROLES)}: not superusers, and they own nothing")


def _too_much(catalog: Connection, role: str) -> list[str]:
    row = catalog.execute(
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication"
        " from pg_roles where rolname = %s",
        [role],
    ).fetchone()
    if row is None:
        return ["doesn't exist"]
    return [word for word, has in zip(ATTRIBUTES.values(), row, strict=True) if has]


def _holds_itself(catalog: Connection, login: str) -> list[str]:
    """What a request could reach before it takes on an identity."""
    held = [
        str(table)
        for (table,) in catalog.execute(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname in ('public', 'private') and c.relkind in ('r', 'p', 'v', 'm', 'f')"
            " and (has_any_column_privilege(%(login)s, c.oid, 'select, insert, update')"
            "   or has_table_privilege(%(login)s, c.oid, 'delete')) order by 1",
            {"login": login},
        )
    ]
    return [f"reaches {first(held)} without an identity (is it noinherit?)"] if held else []


def _one(connection: Connection, query: LiteralString) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
