"""What table classes need besides Python's types, in SQL terms.

A string is `text`, a datetime `timestamptz`. A default in Python is also the column's default in the
database. Constraints have the names that Postgres itself would give them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_args

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import conv
from sqlmodel import AutoString, SQLModel

SQLModel.metadata.naming_convention = {
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "ix": "%(table_name)s_%(constraint_name)s_idx",
}


class Table(SQLModel):
    """What every table's class is derived from."""

    if TYPE_CHECKING:
        __tablename__: ClassVar[str]  # pyright: ignore[reportIncompatibleVariableOverride]


Usd = sa.Numeric(14, 6)

# Belongs to the sign-in server: known here as the target of a foreign key, and to no migration.
auth_users = sa.Table("users", sa.MetaData(), sa.Column("id", sa.Uuid), schema="auth")


def filled(expression: str) -> dict[str, sa.TextClause]:
    """For `sa_column_kwargs`: the database fills the column in, by an expression of SQL."""
    return {"server_default": sa.text(expression)}


NOW = filled("now()")
NEW_ID = filled("gen_random_uuid()")


def check(rule: str, name: str) -> sa.CheckConstraint:
    """`name` is the column's, where the rule is about one: the table and `check` are added to it."""
    return sa.CheckConstraint(rule, name=name)


def check_named(name: str, rule: str) -> sa.CheckConstraint:
    """A rule whose name is older than the convention."""
    return sa.CheckConstraint(rule, name=conv(name))


def not_negative(*columns: str) -> tuple[sa.CheckConstraint, ...]:
    return tuple(check(f"{column} >= 0", column) for column in columns)


def positive(*columns: str) -> tuple[sa.CheckConstraint, ...]:
    return tuple(check(f"{column} > 0", column) for column in columns)


def length(column: str, most: int, *, least: int = 1) -> sa.CheckConstraint:
    """Of a text, in characters."""
    if least == 0:
        return check(f"char_length({column}) <= {most}", column)
    return check(f"char_length({column}) between {least} and {most}", column)


def one_of(column: str, literal: object) -> sa.CheckConstraint:
    """`literal` is a `Literal[…]` type; its order is the database's too."""
    listed = ", ".join(_quoted(value) for value in get_args(literal))
    return check(f"{column} in ({listed})", column)


def index(
    name: str,
    *columns: str,
    where: str | None = None,
    include: tuple[str, ...] = (),
    unique: bool = False,
) -> sa.Index:
    """An index `<table>_<name>_idx`; each of `columns` is SQL, like `created_at desc`."""
    return sa.Index(
        name,
        *(sa.text(column) for column in columns),
        unique=unique,
        postgresql_where=sa.text(where) if where else None,
        postgresql_include=list(include) or None,
    )


def trigram_index(name: str, expression: str) -> sa.Index:
    """For searching inside a text; only where the server has the extension pg_trgm."""
    return sa.Index(
        name,
        sa.literal_column(f"({expression})", sa.Text).label("words"),
        postgresql_using="gin",
        postgresql_ops={"words": "gin_trgm_ops"},
        info={"trigrams": True},
    )


def needs_trigrams(found: object) -> bool:
    return bool(getattr(found, "info", {}).get("trigrams"))


def has_trigrams(connection: sa.Connection) -> bool:
    query = sa.text("select 1 from pg_catalog.pg_extension where extname = 'pg_trgm'")
    return connection.execute(query).first() is not None


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@compiles(AutoString, "postgresql")
def _text(*_: object, **__: object) -> str:
    return "TEXT"


@event.listens_for(sa.Column, "before_parent_attach")
def _default_in_the_database(column: sa.Column[Any], table: sa.Table) -> None:
    default = cast("Any", column.default)
    if table.metadata is not SQLModel.metadata or default is None or not default.is_scalar:
        return
    if column.server_default is None:
        column.server_default = sa.DefaultClause(_literal(default.arg))


def _literal(value: object) -> sa.TextClause:
    """A default as SQL."""
    match value:
        case bool():
            return sa.text(str(value).lower())
        case str():
            return sa.text(_quoted(value))
        case dict() | list():
            return sa.text(f"{_quoted(json.dumps(value))}::jsonb")
        case _:
            return sa.text(str(value))
