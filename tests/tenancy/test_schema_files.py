"""Functions, triggers, policies, and grants: what their files say is what a database has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from aisaas.db.migrate import SCRIPTS, alembic_config, upgrade
from aisaas.db.schema_files import digests, unapplied
from alembic import command
from devstack.stack import Stack
from tests.tenancy.conftest import Catalog
from tests.tenancy.databases import SUPABASE, own_database
from tests.tenancy.test_online_migrations import scripts  # noqa: F401  (a fixture)

# With no migration, with those of long ago, of the release before the files, and with the files themselves.
BEGINS = ("empty", "0005", "0021", "0025", "0026")

SCHEMAS = "('public'::regnamespace, 'private'::regnamespace)"
FUNCTIONS = f"select oid from pg_proc where pronamespace in {SCHEMAS}"
TABLES = f"""
    select oid from pg_class where relnamespace in {SCHEMAS} and relkind in ('r', 'S')
      and relname <> 'alembic_version'
"""
SNAPSHOT = f"""
    select 'function', pg_get_functiondef(oid) from pg_proc where oid in ({FUNCTIONS})
    union all
    select 'trigger', pg_get_triggerdef(oid) from pg_trigger where tgfoid in ({FUNCTIONS})
    union all
    select 'policy', concat_ws(' ', polrelid::regclass, polname, polcmd, polroles::regrole[],
      pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) from pg_policy
    union all
    select 'row security', oid::regclass::text from pg_class
      where oid in ({TABLES}) and relrowsecurity
    union all
    select 'grant', concat_ws(' ', what, grantee::regrole, privilege_type, is_grantable) from (
      select oid::regprocedure::text, proacl from pg_proc where oid in ({FUNCTIONS})
      union all
      select oid::regclass::text, relacl from pg_class where oid in ({TABLES})
      union all
      select attrelid::regclass || '.' || attname, attacl from pg_attribute
        where attrelid in ({TABLES})
    ) of (what, acl), aclexplode(acl)
    order by 1, 2
"""
# Takes all of that away again.
UNDO = f"""
    do $$
    declare
      it record;
    begin
      for it in select polname, polrelid::regclass as relation from pg_policy loop
        execute format('drop policy %I on %s', it.polname, it.relation);
      end loop;
      for it in {FUNCTIONS} loop
        execute format('drop function %s cascade', it.oid::regprocedure);
      end loop;
      for it in select oid::regclass as relation, relkind from pg_class where oid in ({TABLES}) loop
        if it.relkind = 'r' then
          execute format('alter table %s disable row level security', it.relation);
        end if;
        execute format('grant all on %s to anon, authenticated, service_role', it.relation);
      end loop;
    end $$
"""


def snapshot(connection: psycopg.Connection) -> Sequence[tuple[str, str]]:
    return connection.execute(SNAPSHOT.encode()).fetchall()


@pytest.mark.parametrize("begin", BEGINS)
def test_a_database_has_what_the_files_say(stack: Stack, begin: str) -> None:
    with own_database(stack, SUPABASE) as url:
        if begin != "empty":
            config = alembic_config()
            config.attributes["url"] = url
            command.upgrade(config, begin)
        upgrade(url)
        with psycopg.connect(url) as connection:
            migrated = snapshot(connection)
            connection.execute(UNDO.encode())
            assert snapshot(connection) != migrated
            for name in digests():
                connection.execute((SCRIPTS / name).read_bytes())
            assert snapshot(connection) == migrated
            assert {kind for kind, _ in migrated} == {
                *("function", "trigger", "policy", "row security", "grant")
            }


def test_every_function_and_every_table_has_one_file(
    catalog: Catalog, schema_owner: psycopg.Connection
) -> None:
    functions = schema_owner.execute(
        f"select proname from pg_proc where oid in ({FUNCTIONS})".encode()
    )
    tables = set(catalog) - {"private.alembic_version"} | {"auth.users"}
    assert set(digests()) == {
        *(f"functions/{name}.sql" for (name,) in functions),
        *(f"tables/{name}.sql" for name in tables),
    }


def test_every_file_is_applied_by_a_migration() -> None:
    assert unapplied() == {}, "write a migration that applies these: make migration"


MIGRATION = """
from aisaas.db.schema_files import apply

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply({{"functions/answer.sql": "{digest}"}})


def downgrade() -> None:
    pass
"""


def test_a_file_is_applied_once_by_the_migration_that_knows_its_text(
    stack: Stack,
    scripts: Path,  # noqa: F811
) -> None:
    answer = scripts / "functions" / "answer.sql"
    # Without `or replace`, it can be applied once only.
    answer.write_text(
        "create function private.answer() returns text language sql set search_path = ''"
        " as $$ select format('%s', 42) $$;"
    )
    [(name, digest)] = unapplied().items()
    assert name == "functions/answer.sql"
    head = max(path.stem[:4] for path in (scripts / "versions").glob("[0-9]*.py"))
    add(scripts, "9998", head, "000000000000")
    assert unapplied() == {name: digest}
    add(scripts, "9999", "9998", digest)
    assert unapplied() == {}
    with own_database(stack, SUPABASE) as url:
        upgrade(url)
        with psycopg.connect(url) as connection:
            assert connection.execute("select private.answer()").fetchall() == [("42",)]
    # Back to an earlier text is one more change.
    add(scripts, "9998", head, digest)
    add(scripts, "9999", "9998", "000000000000")
    assert unapplied() == {name: digest}


def add(scripts: Path, revision: str, before: str, digest: str) -> None:  # noqa: F811
    text = MIGRATION.format(revision=revision, before=before, digest=digest)
    (scripts / "versions" / f"{revision}_answer.py").write_text(text)
