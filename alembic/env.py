"""Migrations, the same on the embedded database and on hosted Supabase.

They run as the non-superuser `postgres` over a direct or session connection, keep their version
table in schema `private`, and leave everything outside `public` and `private` to its owners.
"""

from __future__ import annotations

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

import aisaas.accounts.models
import aisaas.admin.models
import aisaas.billing.models
import aisaas.chat.models  # noqa: F401  (importing a model registers its table)
from aisaas.db.engine import driver_url
from aisaas.errors import ConfigurationError
from alembic import context

OUR_SCHEMAS = {"public", "private"}
NEEDED_ROLES = ("anon", "authenticated", "service_role")
# Any number that no other program takes; two migrators at once wait for each other.
MIGRATION_LOCK = 7_215_003


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
    with engine.connect() as connection:
        require_supabase_objects(connection)
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text("create schema if not exists private"))
        connection.commit()
        try:
            context.configure(
                connection=connection,
                target_metadata=SQLModel.metadata,
                include_schemas=True,
                include_object=include_object,
                version_table_schema="private",
                compare_type=True,
            )
            with context.begin_transaction():
                context.run_migrations()
        finally:
            connection.rollback()
            connection.execute(text("select pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
            connection.commit()


run()
