"""Migrations beside a product that is in use: nobody waits for one longer than a statement may."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from aisaas.db import engine, migrate
from aisaas.db.migrate import SCRIPTS, upgrade
from aisaas.errors import DependencyError
from devstack.stack import Stack
from tests.tenancy.databases import migrated_database

NEXT = """
from __future__ import annotations

{imports}

revision = "9999"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    {step}


def downgrade() -> None:
    pass
"""
CREATE = 'create_index_concurrently("public.things_name_idx", "public.things (name)")'
ONLINE = "from aisaas.db.online import create_index_concurrently, drop_index_concurrently"
PROGRAM = """
import pathlib, sys
from aisaas.db import migrate
migrate.SCRIPTS = pathlib.Path(sys.argv[2])
migrate.upgrade(sys.argv[1])
"""
VALID = "select indisvalid from pg_index where indexrelid = to_regclass('public.things_name_idx')"


@pytest.fixture
def url(stack: Stack) -> Generator[str]:
    """A migrated database with a table that has grown."""
    with migrated_database(stack) as address:
        with psycopg.connect(address) as connection:
            connection.execute("create table things (name text)")
            connection.execute("insert into things select n::text from generate_series(1, 1000) n")
        yield address


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's migrations, to which a test may add one."""
    copy = tmp_path / "alembic"
    shutil.copytree(SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrate, "SCRIPTS", copy)
    return copy


def add(scripts: Path, step: str, imports: str = ONLINE) -> None:
    text = NEXT.format(imports=imports, before=_before(scripts), step=step)
    (scripts / "versions" / "9999_next.py").write_text(text)


def version(url: str) -> object:
    with psycopg.connect(url) as connection:
        [row] = connection.execute("select version_num from private.alembic_version").fetchall()
        return row[0]


def test_an_index_is_made_while_others_write_and_a_second_migrator_waits(
    url: str, scripts: Path
) -> None:
    add(scripts, CREATE)
    with psycopg.connect(url) as writer, psycopg.connect(url, autocommit=True) as watcher:
        # It has to wait for this transaction, and nobody for it.
        writer.execute("insert into things values ('in a transaction that goes on')")
        # Of its own, since Alembic's state is the process's.
        migrator = subprocess.Popen([sys.executable, "-c", PROGRAM, url, str(scripts)])
        waits = "select 1 from pg_stat_activity where query ilike 'create index concurrently%'"
        deadline = time.monotonic() + 60
        while not watcher.execute(f"{waits} and wait_event_type = 'Lock'").fetchall():
            assert migrator.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        watcher.execute("set statement_timeout = '5s'")
        watcher.execute("insert into things values ('written meanwhile')")
        with pytest.raises(DependencyError, match="another process has been migrating"):
            upgrade(url, wait_seconds=0.2)
        writer.commit()
        assert migrator.wait(60) == 0
        assert watcher.execute(VALID).fetchall() == [(True,)]
    assert version(url) == "9999"


def test_an_index_that_was_left_half_made_is_made_again(url: str, scripts: Path) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into things values ('twice'), ('twice')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("create unique index concurrently things_name_idx on things (name)")
        assert connection.execute(VALID).fetchall() == [(False,)]
        add(scripts, CREATE)
        upgrade(url)
        assert connection.execute(VALID).fetchall() == [(True,)]
        # Once more, as after an end between the step and its being noted.
        connection.execute(
            "update private.alembic_version set version_num = %s", [_before(scripts)]
        )
        upgrade(url)
        assert connection.execute(VALID).fetchall() == [(True,)]
    assert version(url) == "9999"


def _before(scripts: Path) -> str:
    """The newest of the project's own."""
    names = {path.stem[:4] for path in (scripts / "versions").glob("[0-9]*.py")}
    return max(names - {"9999"})


def test_an_index_goes_the_same_way(url: str, scripts: Path) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create index things_name_idx on things (name)")
        add(scripts, 'drop_index_concurrently("public.things_name_idx")')
        upgrade(url)
        assert connection.execute(VALID).fetchall() == []


def test_migration_that_waits_for_a_table_lets_the_others_through_before_theirs_would_fail() -> (
    None
):
    assert migrate.TABLE_LOCK_SECONDS < engine.STATEMENT_SECONDS


def test_a_table_in_use_is_waited_for_in_turns(
    url: str, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "TABLE_LOCK_SECONDS", 0.3)
    monkeypatch.setattr(migrate, "TABLE_LOCK_PAUSE_SECONDS", 0.3)
    add(scripts, "op.execute('alter table things add column size int')", "from alembic import op")
    with psycopg.connect(url) as reader, psycopg.connect(url, autocommit=True) as other:
        reader.execute("select * from things limit 1")
        migrator = threading.Thread(target=upgrade, args=(url,))
        migrator.start()
        blocked = "select 1 from pg_locks where not granted and relation = 'things'::regclass"
        deadline = time.monotonic() + 60
        while not other.execute(blocked).fetchall():
            assert time.monotonic() < deadline
        # Behind the migration in the queue, and served as soon as that gives up.
        other.execute("set statement_timeout = '5s'")
        other.execute("select * from things limit 1")
        reader.commit()
        migrator.join(60)
        assert not migrator.is_alive()
        other.execute("select size from things limit 1")
    assert version(url) == "9999"


def test_a_table_that_stays_in_use_ends_it_and_what_was_done_before_stays(
    url: str, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "TABLE_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(migrate, "TABLE_LOCK_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(migrate, "TABLE_LOCK_ATTEMPTS", 2)
    add(scripts, "op.execute('alter table things add column size int')", "from alembic import op")
    before = version(url)
    with psycopg.connect(url) as reader:
        reader.execute("select * from things limit 1")
        with pytest.raises(DependencyError, match="in use for too long"):
            upgrade(url)
    assert version(url) == before
    upgrade(url)
    assert version(url) == "9999"
