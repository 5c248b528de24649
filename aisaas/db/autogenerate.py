"""How Alembic compares the classes of tables with a database, and what it writes into a migration."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from alembic.ddl.impl import ComparisonResult
from alembic.ddl.postgresql import PostgresqlImpl
from sqlalchemy.schema import AddConstraint, CreateIndex, ExecutableDDLElement

from aisaas.db.columns import has_trigrams, needs_trigrams

PLUGINS = ("alembic.autogenerate.*", "alembic.ext.checkconstraint_byname")
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
    """Rules and expressions have many spellings. Those of a class are given to Postgres, for a table that
    nobody keeps, and are equal if it prints them as it prints those that are there."""

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
