"""How Alembic compares the table classes with a database, and what it writes into a migration."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.ddl.impl import ComparisonResult
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.script import ScriptDirectory
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import AddConstraint, CreateIndex, ExecutableDDLElement
from sqlmodel import AutoString
from sqlmodel.sql.sqltypes import UTCDateTime

from aisaas.db import migrate
from aisaas.db.columns import has_trigrams, needs_trigrams
from aisaas.db.schema_files import digests, unapplied
from alembic import command

PLUGINS = ("alembic.autogenerate.*", "alembic.ext.checkconstraint_byname", "aisaas.files")
# Of a table, without its name.
CHECK = """
    select pg_get_constraintdef(oid) from pg_catalog.pg_constraint
    where conrelid = cast(:table as regclass) and conname = :name
"""
INDEX = """
    select regexp_replace(pg_get_indexdef(i.indexrelid), ' ON \\S+ ', ' ')
    from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
    where i.indrelid = cast(:table as regclass) and c.relname = :name
"""
# A class doesn't say in which schema the extension is.
FIND_OPERATORS = """
    select set_config('search_path', 'public, ' || quote_ident(n.nspname), true)
    from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
    where e.extname = 'pg_trgm'
"""


def include_name(name: str | None, type_: str, _: object) -> bool:
    """Our schemas, of which `public` is the default one; of their tables all but Alembic's own."""
    if type_ == "schema":
        return name in {None, "private"}
    return type_ != "table" or name != "alembic_version"


def include_object(connection: sa.Connection) -> Callable[..., bool]:
    """Without the extension, a database has no index by trigrams, and needs none."""
    trigrams = has_trigrams(connection)

    def include(found: object, *_: object) -> bool:
        return trigrams or not needs_trigrams(found)

    return include


class ComparedByPostgres(PostgresqlImpl):
    """Constraints and expressions have many spellings. Those of the models are given to Postgres
    for a throwaway table, and are equal if it prints them like the existing ones."""

    __dialect__ = "postgresql"

    def compare_check_constraint(
        self,
        metadata_constraint: sa.CheckConstraint,
        reflected_constraint: sa.CheckConstraint,
    ) -> ComparisonResult:
        table = metadata_constraint.table
        assert isinstance(table, sa.Table)
        copied = self._copy(table)
        name = str(reflected_constraint.name)
        [wanted] = [each for each in copied.constraints if each.name == name]
        return self._compare(CHECK, name, table, copied, AddConstraint(wanted))

    def compare_indexes(
        self, metadata_index: sa.Index, reflected_index: sa.Index
    ) -> ComparisonResult:
        table = metadata_index.table
        assert table is not None
        copied = self._copy(table)
        name = str(reflected_index.name)
        [wanted] = [each for each in copied.indexes if each.name == name]
        return self._compare(INDEX, name, table, copied, CreateIndex(wanted))

    def _copy(self, table: sa.Table) -> sa.Table:
        return table.to_metadata(sa.MetaData(), schema="pg_temp")

    def _compare(
        self,
        query: str,
        name: str,
        stored: sa.Table,
        copied: sa.Table,
        create: ExecutableDDLElement,
    ) -> ComparisonResult:
        assert self.connection is not None
        attempt = self.connection.begin_nested()
        try:
            self.connection.exec_driver_sql(FIND_OPERATORS)
            before = self._printed(query, stored, name)
            self.connection.exec_driver_sql(
                f"create temporary table {copied.name} (like {stored.schema or 'public'}.{stored.name})"
            )
            self.connection.execute(create)
            after = self._printed(query, copied, name)
        finally:
            attempt.rollback()
        if before == after:
            return ComparisonResult.Equal()
        return ComparisonResult.Different(f"{before} to {after}")

    def _printed(self, query: str, table: sa.Table, name: str) -> str:
        assert self.connection is not None
        parameters = {"table": table.fullname, "name": name}
        return str(self.connection.execute(sa.text(query), parameters).scalar_one())


# What Alembic doesn't know


class ApplyFiles(ops.MigrateOperation):
    """The files whose text no migration applies yet."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def reverse(self) -> ApplyFiles:
        """The previous text no longer exists."""
        return ApplyFiles({})

    def to_diff_tuple(self) -> tuple[str, ...]:
        return ("apply_files", *self.files)


class CreateIndexOnline(ops.MigrateOperation):
    """An index on a table that others write to."""

    def __init__(self, index: sa.Index) -> None:
        self.index = index

    def reverse(self) -> DropIndexOnline:
        return DropIndexOnline(self.index)


class DropIndexOnline(CreateIndexOnline):
    pass


def _compare_files(_: AutogenContext, upgrade: ops.UpgradeOps) -> PriorityDispatchResult:
    if files := unapplied():
        upgrade.ops.append(ApplyFiles(files))
    return PriorityDispatchResult.CONTINUE


Plugin("aisaas.files").add_autogenerate_comparator(
    _compare_files, "autogenerate", "files", priority=DispatchPriority.LAST
)


@renderers.dispatch_for(ApplyFiles)
def _render_files(context: AutogenContext, operation: ApplyFiles) -> str:
    if not operation.files:
        return "pass  # Functions, triggers, policies, and grants stay as they are."
    context.imports.add("from aisaas.db.schema_files import apply")
    return f"apply({json.dumps(dict(operation.files))})"


@renderers.dispatch_for(CreateIndexOnline)
def _render_index(context: AutogenContext, operation: CreateIndexOnline) -> str:
    index, table = operation.index, operation.index.table
    assert table is not None
    name = f"{table.schema or 'public'}.{index.name}"
    if isinstance(operation, DropIndexOnline):
        context.imports.add("from aisaas.db.online import drop_index_concurrently")
        return f"drop_index_concurrently({name!r})"
    context.imports.add("from aisaas.db.online import create_index_concurrently")
    statement = str(CreateIndex(index).compile(dialect=postgresql.dialect()))
    on = statement.partition(" ON ")[2]
    if table.schema is None:
        on = f"public.{on}"
    unique = ", unique=True" if index.unique else ""
    return f"create_index_concurrently({name!r}, {on!r}{unique})"


def render_item(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Types of SQLModel by their names in SQLAlchemy, so that migrations don't depend on them."""
    if kind == "type" and isinstance(item, AutoString):
        return "sa.Text()"
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


# Writing a migration

# Alembic's markers around generated code.
MARKS = re.compile(r"^ *# ### .*\n", re.MULTILINE)

ACCESS = """-- Nobody has access yet. Grant what is needed, as in the files beside this one, and say the same in
-- aisaas/db/grants.py. Rows of users need policies.
alter table {table} enable row level security;
revoke all on {table} from public, anon, authenticated, service_role;
"""


def write_migration(url: str, message: str) -> tuple[Path, ...]:
    """Write the migration that brings a database at the newest revision to what the classes define.

    Returns:
        the migration and any other files written; empty where the two already match.
    """
    config = migrate.alembic_config()
    config.attributes["url"] = url
    config.cmd_opts = Namespace(quiet=True)
    scripts = ScriptDirectory.from_config(config)
    written: list[Path] = []

    def complete(_: MigrationContext, __: object, directives: list[ops.MigrationScript]) -> None:
        [script] = directives
        assert script.upgrade_ops is not None
        assert script.downgrade_ops is not None
        upgrade = script.upgrade_ops.ops
        written.extend(_access_files(upgrade))
        upgrade[:] = [each for each in map(_online, upgrade) if not isinstance(each, ApplyFiles)]
        if files := unapplied():
            upgrade.append(ApplyFiles(files))
        script.upgrade_ops.reverse_into(script.downgrade_ops)
        if script.upgrade_ops.is_empty():
            directives.clear()

    made = command.revision(
        config,
        message,
        autogenerate=True,
        rev_id=f"{int(scripts.get_current_head() or 0) + 1:04d}",
        process_revision_directives=complete,
    )
    for script in made if isinstance(made, list) else [made]:
        if script is not None:
            path = Path(script.path)
            path.write_text(MARKS.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
            written.insert(0, path)
    return tuple(written)


def _access_files(upgrade: list[ops.MigrateOperation]) -> list[Path]:
    """Write a file for each new table that grants no access."""
    written: list[Path] = []
    for operation in upgrade:
        if isinstance(operation, ops.CreateTableOp):
            table = f"{operation.schema or 'public'}.{operation.table_name}"
            if f"tables/{table}.sql" not in digests():
                path = migrate.SCRIPTS / "tables" / f"{table}.sql"
                path.write_text(ACCESS.format(table=table), encoding="utf-8")
                written.append(path)
    return written


def _online(operation: ops.MigrateOperation) -> ops.MigrateOperation:
    """Create indexes on an existing table without blocking writes."""
    if isinstance(operation, ops.ModifyTableOps):
        operation.ops = [
            CreateIndexOnline(each.to_index())
            if isinstance(each, ops.CreateIndexOp)
            else DropIndexOnline(each.to_index())
            if isinstance(each, ops.DropIndexOp)
            else each
            for each in operation.ops
        ]
    return operation
