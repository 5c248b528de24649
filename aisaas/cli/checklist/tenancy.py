"""Checks that the database isolates tenants: its grants, its policies, and a live attempt.

The attempt runs with the requests login and the id of a user who doesn't exist, in a transaction
that is rolled back. It touches at most one row per table, so even where a policy is missing it
blocks no other transaction.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from aisaas.cli.checklist.database import Connection, Connections
from aisaas.cli.checklist.findings import Finding, fail, first, ok, warn
from aisaas.db.engine import claims_of
from aisaas.db.grants import CELLS, FUNCTIONS, ROLES, TABLES, columns

MIGRATE = "run `python -m aisaas migrate`; what it doesn't fix was changed by hand"
OWNER_COLUMNS = ("user_id", "id")
PRIVILEGES = ("truncate", "references", "trigger")
# Privileges that came with this version.
MAINTAIN_SINCE = 170_000

_RELATIONS = """
    select n.nspname || '.' || c.relname, c.relrowsecurity,
      array(select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum),
      array(select a.attname::text from pg_index i
          join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
        where i.indrelid = c.oid and i.indisprimary)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'private') and c.relkind in ('r', 'p', 'v', 'm', 'f')
    order by 1
"""
_COLUMNS_GRANTED = """
    select n.nspname || '.' || c.relname, a.attname::text
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname in ('public', 'private') and c.relkind in ('r', 'p', 'v', 'm', 'f')
      and has_column_privilege(%(role)s, c.oid, a.attnum, %(verb)s)
"""
_TABLES_GRANTED = """
    select n.nspname || '.' || c.relname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'private') and c.relkind in ('r', 'p', 'v', 'm', 'f')
      and has_table_privilege(%(role)s, c.oid, %(verb)s)
"""
# Objects of an extension aren't ours.
_FUNCTIONS = """
    select n.nspname || '.' || p.proname,
      array(select r from unnest(%s::text[]) r where has_function_privilege(r, p.oid, 'execute'))
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('public', 'private')
      and not exists (select 1 from pg_depend d where d.objid = p.oid and d.deptype = 'e')
"""


@dataclass(frozen=True, slots=True)
class Table:
    """What the catalog says of a table, a view or whatever else holds rows in our schemas."""

    name: str
    row_security: bool
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(*self.name.split("."))

    @property
    def owner_column(self) -> str | None:
        return next((name for name in OWNER_COLUMNS if name in self.columns), None)


def look(to: Connections) -> Generator[Finding]:
    tables = {
        name: Table(name, row_security, tuple(names), tuple(key))
        for name, row_security, names, key in to.catalog.execute(_RELATIONS)
    }
    yield _row_security(tables)
    yield _policies(to.catalog)
    yield _grants(to.catalog, tables)
    yield _functions(to.catalog)
    yield _proof(to, tables)


def _row_security(tables: Mapping[str, Table]) -> Finding:
    if missing := sorted(TABLES - set(tables)):
        return fail("row level security", f"{first(missing)} missing", MIGRATE)
    off = [table.name for table in tables.values() if not table.row_security]
    if off:
        return fail(
            "row level security",
            f"off for {first(off)}",
            f"alter table {off[0]} enable row level security;",
        )
    return ok("row level security", f"on for all {len(tables)} tables")


def _policies(catalog: Connection) -> Finding:
    found = catalog.execute(
        "select schemaname || '.' || tablename, policyname::text, lower(cmd), roles::text[],"
        " coalesce(qual, '') || ' ' || coalesce(with_check, '')"
        " from pg_policies where schemaname in ('public', 'private') order by 1, 2"
    ).fetchall()
    wide = [
        f"{name} on {table}"
        for table, name, _, roles, rule in found
        if roles != ["authenticated"] or not re.search(r"auth\.uid\(\)", rule)
    ]
    if wide:
        return fail(
            "policies",
            f"{first(wide)}: not limited to signed-in users, or doesn't check who is asking",
            f"drop policy {wide[0]};",
        )
    there = {(table, verb) for table, _, verb, _, _ in found}
    missing = [
        f"{cell.verb} on {cell.table}"
        for cell in CELLS.values()
        if cell.who == "owner"
        and not cell.refused
        and not there & {(cell.table, cell.verb), (cell.table, "all")}
    ]
    if missing:
        return fail(
            "policies",
            f"none for {first(missing)}: its owners can't use it",
            "create it again as in alembic/tables; it was dropped by hand",
        )
    return ok("policies", f"{len(found)}, each limited to signed-in users and to their own rows")


def _grants(catalog: Connection, tables: Mapping[str, Table]) -> Finding:
    more: list[tuple[str, str]] = []
    less: list[str] = []
    for role in ROLES:
        for verb in ("select", "insert", "update"):
            granted: dict[str, set[str]] = {name: set() for name in tables}
            for name, column in catalog.execute(_COLUMNS_GRANTED, {"role": role, "verb": verb}):
                granted[name].add(column)
            for name, table in tables.items():
                wanted = _wanted(table, role, verb)
                if extra := sorted(granted[name] - wanted):
                    which = f" ({', '.join(extra)})" if len(extra) < len(table.columns) else ""
                    more.append(
                        (
                            f"{role} may {verb} {name}{which}",
                            f"revoke {verb}{which} on {name} from {role};",
                        )
                    )
                if wanted - granted[name]:
                    less.append(f"{role} may not {verb} {name}")
        for verb in _table_privileges(catalog):
            held = {
                str(name)
                for (name,) in catalog.execute(_TABLES_GRANTED, {"role": role, "verb": verb})
            }
            wanted_on = {
                table
                for table in tables
                if verb == "delete"
                and (cell := CELLS.get((table, ROLES[role], verb)))
                and not cell.refused
            }
            more += [
                (f"{role} may {verb} {name}", f"revoke {verb} on {name} from {role};")
                for name in sorted(held - wanted_on)
            ]
            less += [f"{role} may not {verb} {name}" for name in sorted(wanted_on - held)]
    if more:
        return fail(
            "grants", f"more than expected: {first([said for said, _ in more])}", more[0][1]
        )
    if less:
        return fail("grants", f"less than expected: {first(less)}", MIGRATE)
    return ok("grants", f"as expected, down to the column, for {', '.join(ROLES)}")


def _wanted(table: Table, role: str, verb: str) -> frozenset[str]:
    """No role may use a table in our schemas that isn't ours."""
    if table.name not in TABLES:
        return frozenset()
    return columns(table.name, role, verb, frozenset(table.columns))


def _table_privileges(catalog: Connection) -> tuple[str, ...]:
    maintain = ("maintain",) if catalog.info.server_version >= MAINTAIN_SINCE else ()
    return ("delete", *PRIVILEGES, *maintain)


def _functions(catalog: Connection) -> Finding:
    for name, callers in catalog.execute(_FUNCTIONS, [list(ROLES)]):
        if extra := sorted(set(callers) - FUNCTIONS.get(name, frozenset())):
            return fail(
                "functions",
                f"{', '.join(extra)} may call {name}",
                f"revoke execute on function {name} from public, {', '.join(extra)};",
            )
    return ok("functions", "only the expected roles can call them")


def _proof(to: Connections, tables: Mapping[str, Table]) -> Finding:
    nobody = uuid4()
    found = [
        breach
        for role in ("authenticated", "anon")
        for table in tables.values()
        for breach in _breaches(to.requests, role, nobody, table)
    ]
    if found:
        return fail(
            "proof of isolation",
            first(found),
            "stop the app until it is fixed: compare the table's policies with alembic/tables",
        )
    filled = _filled(to, tables)
    if not filled:
        return warn(
            "proof of isolation",
            "no table has a row yet, so there was nothing to see",
            "run this again after the first user has signed up",
        )
    return ok(
        "proof of isolation",
        f"a made-up user sees nothing of {len(filled)} tables with rows, and writes to none",
    )


def _filled(to: Connections, tables: Mapping[str, Table]) -> list[str]:
    """Tables that have rows, where a policy, not a grant, decides who sees which row."""
    asked = to.owner or to.service
    with asked.transaction(force_rollback=True):
        if to.owner is None:
            asked.execute("select set_config('role', 'service_role', true)")
        return [
            table.name
            for table in tables.values()
            if (cell := CELLS.get((table.name, "stranger", "select")))
            and not cell.refused
            and asked.execute(
                sql.SQL("select 1 from {} limit 1").format(table.identifier)
            ).fetchone()
        ]


def _breaches(connection: Connection, role: str, nobody: UUID, table: Table) -> Generator[str]:
    """What a user who owns nothing can reach."""
    name, key = table.identifier, table.key or table.columns[:1]
    one = sql.SQL("({key}) in (select {key} from {name} limit 1)").format(
        key=sql.SQL(", ").join(map(sql.Identifier, key)), name=name
    )
    tries: dict[str, sql.Composed] = {
        "sees a row of": sql.SQL("select 1 from {} limit 1").format(name),
        "deletes from": sql.SQL("delete from {} where {}").format(name, one),
    }
    with connection.transaction(force_rollback=True):
        # Never `set session`: a pooler gives the connection's next transaction to another client.
        connection.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),"
            " set_config('lock_timeout', '2s', true), set_config('statement_timeout', '5s', true)",
            [role, claims_of(nobody) if role == "authenticated" else "{}"],
        )
        if may := _may(connection, table, "update"):
            tries["changes"] = sql.SQL("update {} set {} = default where {}").format(
                name, sql.Identifier(may[0]), one
            )
        if may := _may(connection, table, "insert"):
            # As another owner, if the table has one: that is refused before any other check.
            column = table.owner_column if table.owner_column in may else may[0]
            tries["adds to"] = sql.SQL("insert into {} ({}) values ({})").format(
                name,
                sql.Identifier(column),
                sql.Literal(uuid4()) if column == table.owner_column else sql.SQL("default"),
            )
        for what, statement in tries.items():
            if _reaches(connection, statement):
                yield f"{role} {what} {table.name}"


def _may(connection: Connection, table: Table, verb: str) -> list[str]:
    schema, name = table.name.split(".")
    return [
        str(column)
        for (column,) in connection.execute(
            "select a.attname::text from pg_attribute a"
            " join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped"
            " and has_column_privilege(c.oid, a.attnum, %s) order by a.attnum",
            [schema, name, verb],
        )
    ]


def _reaches(connection: Connection, statement: sql.Composed) -> bool:
    """Whether it takes effect. A row that violates a constraint got past the access checks."""
    try:
        with connection.transaction(force_rollback=True):
            return connection.execute(statement).rowcount > 0
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.IntegrityError:
        return True
