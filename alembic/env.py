"""Migrations, the same on the embedded database and on hosted Supabase.

They run as the non-superuser `postgres`, keep their version table in schema `private`, and leave
everything outside `public` and `private` to its owners.

All of them are one transaction, and the lock that keeps a second migrator waiting belongs to it: it
can't be left behind, not even by a pooler that hands the session to somebody else.
"""

from __future__ import annotations

from psycopg.errors import LockNotAvailable
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

import aisaas.accounts.models
import aisaas.admin.models
import aisaas.billing.models
import aisaas.chat.models  # noqa: F401  (importing a model registers its table)
from aisaas.db.engine import driver_url
from aisaas.db.migrate import WAIT_SECONDS
from aisaas.errors import ConfigurationError, DependencyError
from alembic import context

OUR_SCHEMAS = {"public", "private"}
NEEDED_ROLES = ("anon", "authenticated", "service_role")
# Any number that no other program takes; two migrators at once wait for each other.
MIGRATION_LOCK = 7_215_003
# A statement that waits longer for a table keeps everybody behind it waiting too.
TABLE_LOCK_SECONDS = 10


def include_object(object_: object, _name: str | None, type_: str, *_: object) -> bool:
    """Compare columns; indexes and constraints have one home, the migrations' SQL."""
    if type_ == "table":
        return (getattr(object_, "schema", None) or "public") in OUR_SCHEMAS
    return type_ == "column"


def require_supabase_objects(connection: Connection) -> None:
    missing = [
        f"role {role}"
        for role in NEEDED_ROLES
        if connection.execute(
            text("select 1 from pg_roles where rolname = :role"), {"role": role}
        ).first()
        is None
    ]
    for name in ("auth.users", "auth.uid()"):
        probe = "to_regprocedure" if name.endswith(")") else "to_regclass"
        if connection.execute(text(f"select {probe}(:name)"), {"name": name}).scalar() is None:
            missing.append(name)
    if missing:
        raise ConfigurationError(
            (
                "DATABASE_URL: this database has no "
                + ", ".join(missing)
                + "; it must be a Supabase database (or the embedded one)",
            )
        )


def run() -> None:
    url = context.config.attributes["url"]
    engine = create_engine(
        driver_url(url), poolclass=NullPool, connect_args={"prepare_threshold": None}
    )
    with engine.begin() as connection:
        require_supabase_objects(connection)
        lock(connection, context.config.attributes.get("wait_seconds", WAIT_SECONDS))
        connection.execute(text("create schema if not exists private"))
        context.configure(
            connection=connection,
            target_metadata=SQLModel.metadata,
            include_schemas=True,
            include_object=include_object,
            version_table_schema="private",
            compare_type=True,
        )
        context.run_migrations()
        # Whoever starts looks whether this schema is the one it was written for.
        connection.execute(text("grant select on private.alembic_version to service_role"))


def lock(connection: Connection, wait_seconds: float) -> None:
    """Wait for our turn, until the transaction ends the lock."""
    limit = text("select set_config('lock_timeout', :limit, true)")
    connection.execute(limit, {"limit": f"{int(wait_seconds * 1000)}ms"})
    try:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise DependencyError(
                f"another process has been migrating the database for {wait_seconds:.0f} s; "
                "see what it waits for, then start again"
            ) from error
        raise
    connection.execute(limit, {"limit": f"{TABLE_LOCK_SECONDS}s"})


run()
