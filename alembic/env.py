"""Migrations, the same on the embedded database and on hosted Supabase.

They run as the non-superuser `postgres`, keep their version table in schema `private`, and leave
everything outside `public` and `private` to its owners.

Each of them is one transaction, so that one may have steps outside of any (`aisaas.db.online`), and none
holds its tables for as long as all of them take. The lock that keeps a second migrator waiting belongs
to a transaction of its own beside them, which does nothing else: it can't be left behind, not even by a
pooler that hands the session to another client.
"""

from __future__ import annotations

import time

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import Connection

from aisaas.cli.serve.migrate import database_url
from aisaas.db.autogenerate import PLUGINS, include_name, include_object, render_item
from aisaas.db.engine import driver_url
from aisaas.db.migrate import TABLE_LOCK_SECONDS, WAIT_SECONDS
from aisaas.errors import ConfigurationError, DependencyError
from aisaas.schema import metadata
from alembic import context

NEEDED_ROLES = ("anon", "authenticated", "service_role")
# Any number that no other program takes; two migrators at once wait for each other.
MIGRATION_LOCK = 7_215_003
LOCK_PAUSE_SECONDS = 0.2


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
    # Without one, Alembic was started by its own command.
    url = context.config.attributes.get("url") or database_url()
    engine = create_engine(
        driver_url(url), poolclass=NullPool, connect_args={"prepare_threshold": None}
    )
    with engine.connect() as turn:
        require_supabase_objects(turn)
        lock(turn, context.config.attributes.get("wait_seconds", WAIT_SECONDS))
        with engine.connect() as connection:
            migrate(connection)
        turn.commit()


def migrate(connection: Connection) -> None:
    # Of the session: each migration is a transaction of its own.
    limit = text("select set_config('lock_timeout', :limit, false)")
    connection.execute(limit, {"limit": f"{int(TABLE_LOCK_SECONDS * 1000)}ms"})
    connection.execute(text("create schema if not exists private"))
    wanted = include_object(connection)
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        include_name=include_name,
        include_object=wanted,
        version_table_schema="private",
        autogenerate_plugins=PLUGINS,
        render_item=render_item,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    # A process that starts checks that this is the schema it was written for.
    connection.execute(text("grant select on private.alembic_version to service_role"))
    connection.commit()


def lock(connection: Connection, wait_seconds: float) -> None:
    """Take the lock, which ends with the transaction. Asks again and again between transactions: one
    that waits for the lock would have a snapshot, and `create index concurrently` waits for those."""
    deadline = time.monotonic() + wait_seconds
    take = text("select pg_try_advisory_xact_lock(:key)")
    while not connection.execute(take, {"key": MIGRATION_LOCK}).scalar():
        connection.rollback()
        if time.monotonic() > deadline:
            raise DependencyError(
                f"another process has been migrating the database for {wait_seconds:.0f} s; "
                "see what it waits for, then start again"
            )
        time.sleep(LOCK_PAUSE_SECONDS)
    # It stays open for as long as the migrations take, and has nothing to do meanwhile. By the simple protocol,
    # which takes back the snapshot of the statement before: `create index concurrently` waits for those.
    connection.exec_driver_sql("set local idle_in_transaction_session_timeout = 0")


run()
