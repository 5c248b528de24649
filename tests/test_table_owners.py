"""Each table has one owner: the folder whose module declares its class. SQL elsewhere doesn't name it.

Others call functions of the owner, or build on a relation that the owner exports
(docs/decisions/0034-a-table-has-one-owner.md).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

from aisaas.db.columns import Table
from aisaas.schema import metadata

ROOT = Path(__file__).parents[1]
# What names tables and is no SQL of a domain: who may do what with each, and how migrations are written.
DECLARES = {"aisaas/db/grants.py", "aisaas/db/autogenerate.py"}
# Writes the past as the schema's owner, for a laptop: the decision says why.
DEMO = "aisaas/cli/run/demo_store.py"
NAMED = re.compile(r"\b(public|private)\.(\w*)")
# Without the schema, which no statement of ours leaves out.
BARE = re.compile(r"\b(?:from|join|into|update|copy|lock table)\s+(?:only\s+)?(\w+)\b(?!\.)")
SQL = re.compile(r"\b(select|insert into|delete from|update \w+ set|copy)\b")


def _classes(of: type[Table] = Table) -> Iterator[type[Table]]:
    for each in of.__subclasses__():
        yield each
        yield from _classes(each)


TABLES = {
    (each.__module__, each.__name__): str(each.__table__.fullname)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    for each in _classes()
    if each.__module__.startswith("aisaas.") and hasattr(each, "__table__")
}
OWNERS: Mapping[str, str] = {
    name if "." in name else f"public.{name}": str(PurePosixPath(*module.split(".")).parent)
    for (module, _), name in TABLES.items()
}
BARE_NAMES = {name.partition(".")[2]: name for name in OWNERS}


def offences(path: str, source: str) -> set[tuple[str, int]]:
    """The tables that a module names without owning them, each with a line."""
    tree = ast.parse(source)
    folder = str(PurePosixPath(path).parent)
    found = set(_in_strings(tree)) | set(_by_class(tree))
    return {(table, line) for table, line in found if OWNERS.get(table) != folder}


def _in_strings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            docs.update(map(id, node.values))
            value = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            value = node.value
        else:
            continue
        if id(node) in docs:
            continue
        for match in NAMED.finditer(value):
            # An empty name is one that is put together, so nobody can say whose it is.
            if match[0] in OWNERS or not match[2]:
                yield match[0], node.lineno
        if SQL.search(value):
            for match in BARE.finditer(value):
                if match[1] in BARE_NAMES:
                    yield BARE_NAMES[match[1]], node.lineno


def _by_class(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Classes of tables that are used in expressions. As types of rows they may be named."""
    named: dict[str, str] = {}
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = alias.asname or alias.name
                if (table := TABLES.get((node.module, alias.name))) is not None:
                    named[name] = table
                modules[name] = f"{node.module}.{alias.name}"
    types = {id(inner) for each in _annotations(tree) for inner in ast.walk(each)}
    for node in ast.walk(tree):
        if id(node) in types:
            continue
        table = None
        if isinstance(node, ast.Name):
            table = named.get(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            table = TABLES.get((modules.get(node.value.id, ""), node.attr))
        if table is not None:
            yield table if "." in table else f"public.{table}", getattr(node, "lineno", 0)


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.returns
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation


def _modules() -> Iterator[tuple[str, str]]:
    for file in sorted((ROOT / "aisaas").rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        if path not in {*DECLARES, DEMO}:
            yield path, file.read_text()


def test_every_table_has_an_owner() -> None:
    known = {name if "." in name else f"public.{name}" for name in metadata.tables}
    assert {name for name in known if not name.startswith("auth.")} == set(OWNERS)


def test_only_its_owner_names_a_table() -> None:
    found = {
        f"{path}:{line} names {table} of {OWNERS.get(table, 'a name that is put together')}"
        for path, source in _modules()
        for table, line in offences(path, source)
    }
    assert found == set()


@pytest.mark.parametrize(
    ("source", "table"),
    [
        ("text('select 1 from public.profiles where id = :id')", "public.profiles"),
        ("text(f'update public.profiles set {x}')", "public.profiles"),
        ("text(f'select {x} from profiles p')", "public.profiles"),
        ('query = """delete\nfrom private.sessions"""', "private.sessions"),
        ("text(f'select 1 from public.{table}')", "public."),
        (
            "from aisaas.accounts.models import Profile\nasync def f(s): await s.get(Profile, 1)",
            "public.profiles",
        ),
        (
            "from aisaas.accounts.models import SessionRow as Row\nquery = select(Row.id)",
            "private.sessions",
        ),
        (
            "from aisaas.accounts import models\nquery = select(models.SessionRow)",
            "private.sessions",
        ),
    ],
)
def test_what_names_the_table_of_another_is_noticed(source: str, table: str) -> None:
    assert {found for found, _ in offences("aisaas/billing/somewhere.py", source)} == {table}
    if table in OWNERS:
        assert offences(f"{OWNERS[table]}/somewhere.py", source) == set()


@pytest.mark.parametrize(
    "source",
    [
        '"""Reads what public.profiles has."""',
        "from aisaas.accounts.models import Profile\ndef f(row: Profile | None) -> Profile: ...",
        "log.info('what profiles have')",
        "text('select private.reserve(:id)')",
        "text(f'select p.email from {PROFILES} p')",
    ],
)
def test_other_uses_are_none(source: str) -> None:
    assert offences("aisaas/billing/somewhere.py", source) == set()
