"""The catalog is what the expectations say, to the column."""

from __future__ import annotations

import re

import psycopg
import pytest

from aisaas.db.grants import FUNCTIONS, ROLES, TABLES, columns
from tests.tenancy.conftest import Catalog
from tests.tenancy.rows import ROWS

OUTSIDERS = """
    select rolname from pg_roles
    where not rolsuper and rolname !~ '^pg_' and rolname <> 'postgres'
      and rolname <> all(%s)
"""


def test_every_table_has_an_expectation_and_a_sample_row(catalog: Catalog) -> None:
    assert set(catalog) == TABLES
    assert set(ROWS) == TABLES


def test_row_security_is_on_everywhere(catalog: Catalog) -> None:
    assert [table.name for table in catalog.values() if not table.row_security] == []


@pytest.mark.parametrize("verb", ["select", "insert", "update"])
@pytest.mark.parametrize("role", ROLES)
def test_columns_granted_are_exactly_those_expected(
    role: str, verb: str, catalog: Catalog, schema_owner: psycopg.Connection
) -> None:
    granted: dict[str, set[str]] = {name: set() for name in catalog}
    for name, column in schema_owner.execute(
        """
        select n.nspname || '.' || c.relname, a.attname
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where n.nspname in ('public', 'private') and c.relkind in ('r', 'p', 'v', 'm', 'f')
          and has_column_privilege(%(role)s, c.oid, a.attnum, %(verb)s)
        """,
        {"role": role, "verb": verb},
    ):
        granted[name].add(column)
    assert granted == {
        name: columns(name, role, verb, table.columns) for name, table in catalog.items()
    }


@pytest.mark.parametrize("privilege", ["truncate", "references", "trigger", "maintain"])
def test_nobody_may_truncate_refer_to_or_hang_triggers_on_a_table(
    privilege: str, schema_owner: psycopg.Connection
) -> None:
    held = schema_owner.execute(
        """
        select r.rolname, c.relname from pg_class c cross join pg_roles r
        where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
          and c.relkind in ('r', 'p', 'v', 'm', 'f')
          and not r.rolsuper and r.rolname !~ '^pg_' and r.rolname <> 'postgres'
          and has_table_privilege(r.oid, c.oid, %s)
        """,
        [privilege],
    ).fetchall()
    assert held == []


def test_logins_and_everybody_else_hold_nothing_themselves(
    schema_owner: psycopg.Connection,
) -> None:
    outsiders = [name for (name,) in schema_owner.execute(OUTSIDERS, [list(ROLES)])]
    assert {"app_rw", "app_service", "supabase_auth_admin"} <= set(outsiders)
    held = schema_owner.execute(
        """
        select r, c.relname from unnest(%s::text[]) r cross join pg_class c
        where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
          and c.relkind in ('r', 'p', 'v', 'm', 'f')
          and (has_any_column_privilege(r, c.oid, 'select, insert, update, references')
            or has_table_privilege(r, c.oid, 'delete'))
        """,
        [outsiders],
    ).fetchall()
    assert held == []


def test_functions_are_callable_by_exactly_those_expected(
    schema_owner: psycopg.Connection,
) -> None:
    found = {
        name: frozenset(callers)
        for name, callers in schema_owner.execute(
            """
            select n.nspname || '.' || p.proname,
              array(select r.rolname::text from pg_roles r
                where not r.rolsuper and r.rolname !~ '^pg_' and r.rolname <> 'postgres'
                  and has_function_privilege(r.oid, p.oid, 'execute'))
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in ('public', 'private')
            """
        )
    }
    assert found == FUNCTIONS


def test_no_function_looks_names_up_along_a_callers_search_path(
    schema_owner: psycopg.Connection,
) -> None:
    loose = schema_owner.execute(
        """
        select proname from pg_proc
        where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
          and not coalesce('search_path=""' = any(proconfig), false)
        """
    ).fetchall()
    assert loose == []


def test_only_the_service_gets_into_the_private_schema_and_nobody_creates(
    schema_owner: psycopg.Connection,
) -> None:
    rights = schema_owner.execute(
        """
        select n.nspname, r.rolname, kind from pg_namespace n cross join pg_roles r
          cross join (values ('usage'), ('create')) k (kind)
        where n.nspname in ('public', 'private')
          and not r.rolsuper and r.rolname !~ '^pg_' and r.rolname <> 'postgres'
          and (n.nspname = 'private' or kind = 'create')
          and has_schema_privilege(r.oid, n.oid, kind)
        """
    ).fetchall()
    assert rights == [("private", "service_role", "usage")]


def test_every_policy_asks_once_who_is_asking_and_is_for_signed_in_users(
    schema_owner: psycopg.Connection,
) -> None:
    policies = schema_owner.execute(
        "select policyname, roles::text[], coalesce(qual, '') || ' ' || coalesce(with_check, '')"
        " from pg_policies where schemaname in ('public', 'private')"
    ).fetchall()
    assert len(policies) > 0
    for name, roles, rule in policies:
        assert roles == ["authenticated"], name
        asked = len(re.findall(r"auth\.uid\(\)", rule))
        # A bare call would run once a row: fifteen times slower on a large table.
        asked_once = len(re.findall(r"\(\s*SELECT auth\.uid\(\)", rule))
        assert asked == asked_once > 0, name


def test_what_a_later_migration_creates_starts_with_nothing_granted(
    schema_owner: psycopg.Connection,
) -> None:
    with schema_owner.transaction(force_rollback=True):
        schema_owner.execute("create table public.forgotten (id bigserial primary key)")
        schema_owner.execute(
            "create function public.forgotten_too() returns int language sql as 'select 1'"
        )
        held = schema_owner.execute(
            """
            select rolname from pg_roles where rolname in ('anon', 'authenticated', 'service_role')
              and (has_table_privilege(rolname, 'public.forgotten', 'select, insert, update, delete')
                or has_sequence_privilege(rolname, 'public.forgotten_id_seq', 'usage, select, update')
                or has_function_privilege(rolname, 'public.forgotten_too()', 'execute'))
            """
        ).fetchall()
    assert held == []


def test_policies_find_a_users_rows_by_an_index(schema_owner: psycopg.Connection) -> None:
    without = schema_owner.execute(
        """
        select distinct p.polrelid::regclass::text from pg_policy p
          join pg_attribute a on a.attrelid = p.polrelid and a.attname = 'user_id'
        where not exists (
          select 1 from pg_index i where i.indrelid = a.attrelid and i.indkey[0] = a.attnum
        )
        """
    ).fetchall()
    # Messages are only ever read by conversation, which has an index with the owner in it.
    assert without == [("messages",)]
