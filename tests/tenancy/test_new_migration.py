"""`make migration`: what has changed in classes and files becomes a migration that runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

import aisaas.schema
from aisaas.db.autogenerate import write_migration
from aisaas.db.columns import auth_users, check, index
from aisaas.db.migrate import SCRIPTS, alembic_config, upgrade
from aisaas.db.schema_files import unapplied
from aisaas.settings import PROJECT_ROOT
from alembic import command
from devstack.stack import Stack
from tests.tenancy.databases import migrated_database
from tests.tenancy.test_online_migrations import scripts  # noqa: F401  (a fixture)
from tests.tenancy.test_schema_files import snapshot


@pytest.fixture
def url(stack: Stack, scripts: Path) -> Generator[str]:  # noqa: F811
    """A database with all migrations, to which a test may add one."""
    with migrated_database(stack) as address:
        yield address


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> sa.MetaData:
    """The tables of the product, which a test may change."""
    copied = sa.MetaData(naming_convention=aisaas.schema.metadata.naming_convention)
    for table in aisaas.schema.metadata.tables.values():
        table.to_metadata(copied)
    # A copy looks for the table among the copied ones.
    profiles = copied.tables["profiles"]
    for key in [*profiles.foreign_key_constraints]:
        profiles.constraints.discard(key)
    for key in [*profiles.foreign_keys]:
        profiles.foreign_keys.discard(key)
        key.parent.foreign_keys.discard(key)
    profiles.append_constraint(
        sa.ForeignKeyConstraint(["id"], [auth_users.c.id], ondelete="CASCADE")
    )
    monkeypatch.setattr(aisaas.schema, "metadata", copied)
    return copied


def _scripts() -> list[Path]:
    """All but what Python keeps beside the modules that it has read."""
    return sorted(path for path in SCRIPTS.rglob("*.*") if path.suffix != ".pyc")


def test_nothing_is_written_where_nothing_has_changed() -> None:
    before = _scripts()
    program = [sys.executable, "alembic/new_migration.py"]
    done = subprocess.run(
        [*program, "change", "nothing"],
        cwd=PROJECT_ROOT,
        env={"PATH": "", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing was written." in done.stdout
    assert _scripts() == before


def test_without_a_message_it_asks_for_one() -> None:
    program = [sys.executable, "alembic/new_migration.py", " "]
    done = subprocess.run(
        program,
        cwd=PROJECT_ROOT,
        env={"PATH": "", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert 'make migration m="' in done.stderr


def add_a_column(classes: sa.MetaData) -> None:
    column = sa.Column("color", sa.Text, nullable=False, server_default=sa.text("'red'"))
    classes.tables["profiles"].append_column(column)


def add_a_check(classes: sa.MetaData) -> None:
    classes.tables["profiles"].append_constraint(check("char_length(email) < 1000", "email"))


def add_indexes(classes: sa.MetaData) -> None:
    for name in ("messages", "private.sessions"):
        found = index("color", "created_at desc", "id", where="user_id is not null", unique=True)
        classes.tables[name].append_constraint(found)  # pyright: ignore[reportArgumentType]


def remove_an_index(classes: sa.MetaData) -> None:
    table = classes.tables["reservations"]
    table.indexes.discard(next(it for it in table.indexes if it.name == "reservations_message_idx"))


def add_tables(classes: sa.MetaData) -> None:
    for schema in (None, "private"):
        sa.Table(
            "things",
            classes,
            sa.Column("id", sa.Uuid, primary_key=True),
            sa.Column("user_id", sa.ForeignKey("profiles.id", ondelete="CASCADE"), nullable=False),
            sa.Column("name", sa.Text, nullable=False),
            check("name <> ''", "name"),
            index("user", "user_id"),
            schema=schema,
        )


CHANGES = {
    add_a_column: ["op.add_column("],
    add_a_check: ["op.create_check_constraint("],
    add_indexes: [
        'create_index_concurrently(\n        "public.messages_color_idx"',
        'create_index_concurrently(\n        "private.sessions_color_idx"',
    ],
    remove_an_index: ['drop_index_concurrently("public.reservations_message_idx")'],
}
NEW_TABLES = {
    add_tables: ["op.create_table(", "tables/private.things.sql", "tables/public.things.sql"]
}


@pytest.mark.parametrize("changes", [CHANGES, NEW_TABLES], ids=["changes", "new tables"])
def test_changes_become_a_migration_that_goes_both_ways(
    url: str, classes: sa.MetaData, changes: dict[Callable[[sa.MetaData], None], list[str]]
) -> None:
    config = alembic_config()
    config.attributes["url"] = url
    with psycopg.connect(url, autocommit=True) as connection:
        before = snapshot(connection)
        for change in changes:
            change(classes)
        migration, *_ = write_migration(url, "Change something.")
        _tidied(migration)
        text = migration.read_text()
        assert migration.name.endswith("_change_something.py")
        assert text.startswith('"""Change something."""\n')
        assert [part for written in changes.values() for part in written if part not in text] == []
        assert "###" not in text
        upgrade(url)
        # What it says is all that there was to do.
        command.check(config)
        assert write_migration(url, "Again.") == ()
        command.downgrade(config, "-1")
        # The files of new tables stay, which no release has yet.
        if changes is CHANGES:
            assert snapshot(connection) == before
        upgrade(url)
        command.check(config)


def test_nobody_may_do_anything_with_a_new_table(url: str, classes: sa.MetaData) -> None:
    add_tables(classes)
    _, *files = write_migration(url, "Add things.")
    assert sorted(path.name for path in files) == ["private.things.sql", "public.things.sql"]
    assert "aisaas/db/grants.py" in files[0].read_text()
    upgrade(url)
    with psycopg.connect(url) as connection:
        held = connection.execute(
            """
            select c.oid::regclass, r.rolname from pg_class c cross join pg_roles r
            where c.relname = 'things' and r.rolname in ('anon', 'authenticated', 'service_role')
              and (has_any_column_privilege(r.oid, c.oid, 'select, insert, update')
                or has_table_privilege(r.oid, c.oid, 'delete'))
            """
        ).fetchall()
        assert held == []
        secured = "select relrowsecurity from pg_class where relname = 'things' and relkind = 'r'"
        assert connection.execute(secured).fetchall() == [(True,), (True,)]


def test_a_changed_function_becomes_a_migration(url: str, scripts: Path) -> None:  # noqa: F811
    function = scripts / "functions" / "touch_updated_at.sql"
    function.write_text(function.read_text().replace("now()", "clock_timestamp()"))
    [name] = unapplied()
    assert name == "functions/touch_updated_at.sql"
    config = alembic_config()
    config.attributes["url"] = url
    with pytest.raises(Exception, match="apply_files"):
        command.check(config)
    [migration] = write_migration(url, "Touch rows later.")
    assert unapplied() == {}
    upgrade(url)
    with psycopg.connect(url) as connection:
        source = "select prosrc ~ 'clock_timestamp' from pg_proc where proname = 'touch_updated_at'"
        assert connection.execute(source).fetchall() == [(True,)]
    _tidied(migration)
    command.downgrade(config, "-1")
    upgrade(url)


def _tidied(migration: Path) -> None:
    """As by the command itself."""
    names = {"__name__": "new_migration"}
    exec((SCRIPTS / "new_migration.py").read_text(), names)
    tidy = names["tidy"]
    assert callable(tidy)
    tidy(migration)
