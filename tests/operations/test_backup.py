"""A backup of the embedded data, and that what comes back is what was there."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from aisaas.cli import environment, main
from aisaas.db.migrate import upgrade
from childprocess.errors import StartError
from childprocess.folder import DataFolder
from devstack import backup as backups
from devstack.backup import MANIFEST, backup, look_into, restore
from devstack.stack import Stack
from tests.operations.conftest import PARTS, announce, sql_at

PASSWORD = "a long enough password"
TABLES = (
    *("auth.users", "public.profiles", "public.conversations", "public.usage_records"),
    *("public.usage_days", "public.audit_log", "private.kill_switches", "private.metering"),
)


def _sign_up(stack: Stack, email: str) -> UUID:
    answer = httpx.post(
        f"{stack.env['SUPABASE_URL']}/auth/v1/signup",
        json={"email": email, "password": PASSWORD},
        headers={"apikey": stack.env["SUPABASE_PUBLISHABLE_KEY"]},
    )
    return UUID(answer.raise_for_status().json()["user"]["id"])


def _signs_in(stack: Stack, email: str) -> bool:
    answer = httpx.post(
        f"{stack.env['SUPABASE_URL']}/auth/v1/token?grant_type=password",
        json={"email": email, "password": PASSWORD},
        headers={"apikey": stack.env["SUPABASE_PUBLISHABLE_KEY"]},
    )
    return answer.status_code == 200


def _customer(stack: Stack, email: str) -> str:
    answer = httpx.post(
        f"{stack.env['STRIPE_API_BASE']}/v1/customers",
        data={"email": email},
        headers={"authorization": f"Bearer {stack.env['STRIPE_SECRET_KEY']}"},
    )
    return str(answer.raise_for_status().json()["id"])


def _knows(stack: Stack, customer: str) -> bool:
    answer = httpx.get(
        f"{stack.env['STRIPE_API_BASE']}/v1/customers/{customer}",
        headers={"authorization": f"Bearer {stack.env['STRIPE_SECRET_KEY']}"},
    )
    return answer.status_code == 200


def _counts(stack: Stack) -> dict[str, object]:
    sql = sql_at(stack)
    return {table: sql(f"select count(*) from {table}")[0][0] for table in TABLES}


@pytest.fixture(scope="module")
def saved(install: Stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A backup of a running install with someone in it; their address, and their customer."""
    email = f"{uuid4().hex}@example.com"
    user_id = _sign_up(install, email)
    sql = sql_at(install)
    sql(
        "insert into public.conversations (user_id, title, model) values (%s, 'Kept', 'demo')",
        user_id,
    )
    sql("insert into private.kill_switches (scope) values ('model:kept') on conflict do nothing")
    customer = _customer(install, email)
    announce(install)
    target = tmp_path_factory.mktemp("backups") / "backup.tar.gz"
    backup(install.folder, target)
    return target, email, customer


def test_what_was_there_comes_back_elsewhere(
    install: Stack, saved: tuple[Path, str, str], tmp_path: Path
) -> None:
    target, email, customer = saved
    before = _counts(install)
    # After the backup, so not in it.
    late = f"{uuid4().hex}@example.com"
    _sign_up(install, late)
    folder = DataFolder(tmp_path / "data")
    assert restore(target, folder) is None
    with Stack(tmp_path / "data", PARTS) as restored:
        assert _counts(restored) == before
        assert _signs_in(restored, email)
        assert not _signs_in(restored, late)
        assert _knows(restored, customer)
        # The walls stand as well: of the roles, their grants and the policies.
        with psycopg.connect(restored.env["DATABASE_URL"]) as connection:
            connection.execute("set role authenticated")
            found = connection.execute("select count(*) from public.conversations").fetchone()
            assert found == (0,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from public.audit_log")
        _same_walls(install, restored)
        # And the schema goes on from where it was.
        upgrade(restored.env["MIGRATION_DATABASE_URL"])
    left = [path.name for path in folder.path.iterdir() if path.name.startswith((".", "replaced"))]
    assert left == []


def _same_walls(one: Stack, other: Stack) -> None:
    """What is granted by default isn't looked at: every start of a cluster sets it as hosted has it."""
    for query in (
        "select schemaname, tablename, policyname, roles, cmd, qual, with_check from pg_policies"
        " order by 1, 2, 3",
        "select table_schema, table_name, grantee, privilege_type"
        " from information_schema.role_table_grants"
        " where table_schema in ('public', 'private') order by 1, 2, 3, 4",
        "select n.nspname, c.relname, c.relrowsecurity, r.rolname from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner"
        " where n.nspname in ('public', 'private', 'auth') order by 1, 2",
        "select n.nspname, p.proname, p.proacl::text, p.prosecdef from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('public', 'private', 'auth') order by 1, 2, 3",
    ):
        assert sql_at(one)(query) == sql_at(other)(query), query


def test_a_backup_is_private_and_says_what_is_in_it(saved: tuple[Path, str, str]) -> None:
    target, _, _ = saved
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    manifest = look_into(target)
    assert manifest.format == backups.FORMAT
    assert manifest.schema is not None
    assert {"postgres.dump", "secrets.json"} <= set(manifest.files)
    assert any(name.startswith("payments/") for name in manifest.files)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_backup_does_not_replace_another_unasked(
    install: Stack, saved: tuple[Path, str, str]
) -> None:
    target, _, _ = saved
    before = target.read_bytes()
    with pytest.raises(StartError, match="already"):
        backup(install.folder, target)
    assert target.read_bytes() == before


def test_a_running_instance_is_not_restored_over(
    install: Stack, saved: tuple[Path, str, str]
) -> None:
    before = _counts(install)
    with pytest.raises(StartError, match="already running"):
        restore(saved[0], DataFolder(install.folder.path))
    assert _counts(install) == before


def test_what_is_replaced_is_put_aside_and_without_an_instance_it_is_backed_up_too(
    saved: tuple[Path, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Through the commands: restore, back up what nobody runs, and restore over it."""
    target, _, _ = saved
    data = tmp_path / "data"
    monkeypatch.setenv("AISAAS_DATA_DIR", str(data))
    environment.configured.cache_clear()
    assert main(["db", "restore", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replaced"] is None
    again = tmp_path / "again.tar.gz"
    assert main(["db", "backup", str(again), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bytes"] == again.stat().st_size
    (data / "valkey").mkdir()
    (data / "valkey" / "rates.aof").write_text("of another past")
    assert main(["db", "restore", str(again), "--json"]) == 0
    aside = Path(json.loads(capsys.readouterr().out)["replaced"])
    assert (aside / "postgres" / "PG_VERSION").is_file()
    assert (aside / "secrets.json").is_file()
    assert not (data / "valkey").exists()
    assert DataFolder(data).holder() is None
    environment.configured.cache_clear()


def test_nothing_to_back_up_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no embedded database"):
        backup(DataFolder(tmp_path / "empty"), tmp_path / "backup.tar.gz")
    assert list(tmp_path.iterdir()) == []


# Backups that are none


def _rewritten(source: Path, target: Path, change: Mapping[str, bytes | None]) -> Path:
    """The same archive with some files changed, added, or (None) left out."""
    with tarfile.open(source) as old, tarfile.open(target, "w:gz") as new:
        members = {
            member.name: (old.extractfile(member) or io.BytesIO()).read()
            for member in old.getmembers()
        }
        for name, content in {**members, **change}.items():
            if content is not None:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    return target


def _manifest(source: Path, **changes: object) -> bytes:
    with tarfile.open(source) as archive:
        content = archive.extractfile(MANIFEST)
        assert content is not None
        return json.dumps(json.load(content) | changes).encode()


@pytest.mark.parametrize(
    "kind", ["cut", "noise", "empty", "changed", "lacking", "newer", "escaping"]
)
def test_a_damaged_backup_changes_nothing(
    saved: tuple[Path, str, str], tmp_path: Path, kind: str
) -> None:
    source, bad = saved[0], tmp_path / "bad.tar.gz"
    escape = {"../escaped": {"bytes": 1, "sha256": "x"}}
    match kind:
        case "cut":
            bad.write_bytes(source.read_bytes()[:-2000])
        case "noise":
            bad.write_bytes(gzip.compress(b"no archive at all" * 100))
        case "empty":
            bad.write_bytes(b"")
        case "changed":
            _rewritten(source, bad, {"secrets.json": b"{}"})
        case "lacking":
            _rewritten(source, bad, {"postgres.dump": None})
        case "newer":
            _rewritten(source, bad, {MANIFEST: _manifest(source, format=99)})
        case _:
            files = {MANIFEST: _manifest(source, files=escape), "../escaped": b"x"}
            _rewritten(source, bad, files)
    data = tmp_path / "data"
    data.mkdir()
    (data / "secrets.json").write_text("what was there")
    with pytest.raises(StartError):
        restore(bad, DataFolder(data))
    assert (data / "secrets.json").read_text() == "what was there"
    assert {path.name for path in data.iterdir()} <= {"secrets.json", "lock", "logs"}
    assert not (tmp_path / "escaped").exists()


def test_a_backup_of_a_later_release_is_refused_by_the_command(
    saved: tuple[Path, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    later = _rewritten(
        saved[0], tmp_path / "later.tar.gz", {MANIFEST: _manifest(saved[0], schema="9999")}
    )
    monkeypatch.setenv("AISAAS_DATA_DIR", str(tmp_path / "data"))
    environment.configured.cache_clear()
    assert main(["db", "restore", str(later)]) == 2
    assert "newer" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    environment.configured.cache_clear()


def test_a_swap_that_fails_halfway_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = DataFolder(tmp_path / "data"), tmp_path / "made"
    for place, text in ((folder.path, "old"), (made, "new")):
        for name in ("postgres", "payments"):
            (place / name).mkdir(parents=True)
            (place / name / "content").write_text(text)
    moved = backups._move  # pyright: ignore[reportPrivateUsage]

    def fails_at_the_last(source: Path, target: Path, done: list[tuple[Path, Path]]) -> None:
        if source == made / "postgres":
            raise OSError(28, "No space left on device")
        moved(source, target, done)

    monkeypatch.setattr(backups, "_move", fails_at_the_last)
    with pytest.raises(OSError, match="space"):
        backups._swap(made, folder)  # pyright: ignore[reportPrivateUsage]
    for name in ("postgres", "payments"):
        assert (folder.path / name / "content").read_text() == "old"
    assert {path.name for path in folder.path.iterdir()} == {"postgres", "payments"}


def test_books_are_copied_as_of_one_moment(tmp_path: Path) -> None:
    source = tmp_path / "payments"
    source.mkdir()
    with sqlite3.connect(source / "books.db") as books:
        books.execute("pragma journal_mode = wal")
        books.execute("create table said (words text)")
        books.execute("insert into said values ('still in the log')")
        books.commit()
        backups._copy_books(source, tmp_path / "copy")  # pyright: ignore[reportPrivateUsage]
    books.close()
    shutil.rmtree(source)
    copied = sqlite3.connect(tmp_path / "copy" / "books.db")
    assert copied.execute("select words from said").fetchall() == [("still in the log",)]
    copied.close()
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["books.db"]
