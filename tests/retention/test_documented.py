"""Every table has a line that says how long it keeps what, and why."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

from aisaas.admin.retention import DAYS, RULES
from aisaas.db.grants import MATRIX
from aisaas.settings import Settings
from devstack.auth.retention import OLD
from devstack.stack import Stack

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "operations" / "retention.md"
_LINE = re.compile(r"^\| `(\w+\.\w+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def _lines() -> dict[str, tuple[str, str, str]]:
    found = [(table, (kept, removed, why)) for table, kept, removed, why in _LINE.findall(text())]
    assert len(found) == len(dict(found)), "a table has two lines"
    return dict(found)


def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_every_table_of_every_schema_has_a_line(stack: Stack) -> None:
    with psycopg.connect(stack.env["MIGRATION_DATABASE_URL"]) as connection:
        tables = {
            name
            for (name,) in connection.execute(
                "select n.nspname || '.' || c.relname from pg_class c"
                " join pg_namespace n on n.oid = c.relnamespace"
                " where c.relkind in ('r', 'p', 'm', 'f') and n.nspname !~ '^pg_'"
                " and n.nspname <> 'information_schema'"
            )
        }
    assert set(_lines()) == tables


def test_lines_say_who_removes_what() -> None:
    lines = _lines()
    purged = {table for table, (_, removed, _) in lines.items() if "`purge_records`" in removed}
    assert purged == {rule.table for rule in RULES}
    by_the_server = {
        table for table, (_, removed, _) in lines.items() if removed == "by the server"
    }
    assert by_the_server == {table for table, _ in OLD}
    for table, (kept, removed, why) in lines.items():
        assert kept.strip(), table
        assert removed.strip(), table
        assert why.strip(), table


def test_what_is_never_removed_can_not_be() -> None:
    grants = {line.split()[0]: line.split()[-1] for line in MATRIX.strip().splitlines()[1:]}
    for table, (_, removed, _) in _lines().items():
        if "no role is granted it" in removed:
            assert "d" not in grants[table], table


def test_settings_it_names_exist_with_these_defaults() -> None:
    named = set(re.findall(r"`(RETENTION_\w+)`", text()))
    assert named == {name.upper() for name in Settings.model_fields if "retention_" in name}
    for variable, default in re.findall(r"^\| `(RETENTION_\w+)` \| (\d+)", text(), re.MULTILINE):
        assert Settings.model_fields[variable.lower()].default == int(default)
    used = {rule.keep for rule in RULES if rule.keep} - set(DAYS)
    assert {name.upper() for name in used} == named
