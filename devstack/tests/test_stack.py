"""The embedded parts: as hosted, never left behind, and never at the cost of data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import errors

from childprocess import folder as folder_module
from childprocess.errors import StartError
from childprocess.files import explained
from childprocess.folder import DataFolder
from childprocess.ports import answers_http, free_port, is_free, port_holder
from childprocess.processes import Process, Service
from childprocess.supervisor import Supervisor, interruptible
from devstack.secrets import SUPERUSER_PASSWORD, folder_secrets
from devstack.stack import Stack

DATA_PARTS = ("postgres", "valkey")
ROOT = Path(__file__).resolve().parents[2]
HOLDER = textwrap.dedent(
    """
    import json, sys, time
    from pathlib import Path
    from devstack.stack import Stack

    stack = Stack(Path(sys.argv[1]), sys.argv[2].split(","))
    stack.start()
    print(json.dumps({"pids": stack.pids, "env": stack.env}), flush=True)
    time.sleep(600)
    """
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    with Stack(tmp_path_factory.mktemp("parts"), DATA_PARTS) as running:
        yield running


def as_role(stack: Stack, variable: str) -> psycopg.Connection:
    return psycopg.connect(stack.env[variable], autocommit=True)


def ping(stack: Stack) -> bool:
    client = redis.Redis.from_url(stack.env["REDIS_URL"], socket_timeout=1)
    try:
        return bool(client.ping())
    finally:
        client.close()


def is_gone(pid: int) -> bool:
    """A zombie counts as gone: it holds nothing, and collecting it is init's duty."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def wait_until(true: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def hold(folder: Path, parts: tuple[str, ...] = DATA_PARTS) -> tuple[subprocess.Popen[str], dict]:
    """A process that holds a stack, to be killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), ",".join(parts)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    return holder, json.loads(holder.stdout.readline())


def kill(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert holder.stdout is not None
    holder.stdout.close()


# As hosted


def test_roles_have_the_attributes_they_have_on_a_hosted_project(parts: Stack) -> None:
    with as_role(parts, "MIGRATION_DATABASE_URL") as connection:
        rows = connection.execute(
            "select rolname, rolcanlogin, rolinherit, rolbypassrls, rolsuper from pg_roles"
            " where rolname !~ '^pg_'"
        ).fetchall()
    roles = {
        name: (login, inherit, bypass, superuser)
        for name, login, inherit, bypass, superuser in rows
    }
    assert roles == {
        "supabase_admin": (True, True, True, True),
        "postgres": (True, True, True, False),
        "supabase_auth_admin": (True, False, False, False),
        "anon": (False, False, False, False),
        "authenticated": (False, False, False, False),
        "service_role": (False, False, True, False),
        "app_rw": (True, False, False, False),
        "app_service": (True, False, False, False),
    }


def test_application_login_becomes_users_only_and_service_login_the_service_only(
    parts: Stack,
) -> None:
    with as_role(parts, "DATABASE_URL") as connection:
        connection.execute("set role anon")
        connection.execute("set role authenticated")
        connection.execute("reset role")
        for forbidden in ("service_role", "postgres", "supabase_auth_admin"):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"set role {forbidden}")
    with as_role(parts, "SERVICE_DATABASE_URL") as connection:
        connection.execute("set role service_role")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("set role authenticated")


def test_only_the_owner_creates_in_public(parts: Stack) -> None:
    with as_role(parts, "DATABASE_URL") as connection:
        for role in ("app_rw", "anon", "authenticated"):
            connection.execute(f"set role {role}")
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("create table public.mine ()")
    with as_role(parts, "MIGRATION_DATABASE_URL") as connection:
        connection.execute("create table public.ours ()")
        connection.execute("drop table public.ours")


def test_new_tables_are_granted_to_everybody_until_a_migration_revokes(parts: Stack) -> None:
    with as_role(parts, "MIGRATION_DATABASE_URL") as connection:
        connection.execute("create table public.fresh (n int)")
        try:
            granted = connection.execute(
                "select has_table_privilege('anon', 'public.fresh', 'delete'),"
                " has_table_privilege('authenticated', 'public.fresh', 'insert'),"
                " has_table_privilege('service_role', 'public.fresh', 'update'),"
                " has_table_privilege('app_rw', 'public.fresh', 'select')"
            ).fetchone()
        finally:
            connection.execute("drop table public.fresh")
    assert granted == (True, True, True, False)


def test_auth_functions_read_the_claims_of_the_request(parts: Stack) -> None:
    user = "6f9c1f3e-0b53-4a9e-8a42-4a4b7d0a4f10"
    claims = json.dumps({"sub": user, "role": "authenticated"})
    with as_role(parts, "DATABASE_URL") as connection:
        connection.execute("set role authenticated")
        asked = "select auth.uid()::text, auth.role(), auth.jwt()"
        assert connection.execute(asked).fetchone() == (None, None, None)
        connection.execute("select set_config('request.jwt.claims', %s, false)", [claims])
        assert connection.execute(asked).fetchone() == (user, "authenticated", json.loads(claims))


def test_owner_of_the_migrations_refers_to_users_and_cannot_change_the_auth_schema(
    tmp_path: Path,
) -> None:
    with (
        Stack(tmp_path, ("postgres", "auth")) as stack,
        as_role(stack, "MIGRATION_DATABASE_URL") as connection,
        connection.transaction() as work,
    ):
        connection.execute(
            "create table public.follower (id uuid primary key references auth.users)"
        )
        connection.execute(
            "create function public.noop() returns trigger language plpgsql as"
            " $$ begin return new; end $$"
        )
        connection.execute(
            "create trigger t after insert on auth.users"
            " for each row execute function public.noop()"
        )
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            connection.execute("create table auth.own ()")
        raise psycopg.Rollback(work)


def test_passwords_are_in_no_argument_list(parts: Stack) -> None:
    secrets = json.loads((parts.folder.path / "secrets.json").read_text()).values()
    for pid in parts.pids.values():
        arguments = Path(f"/proc/{pid}/cmdline").read_text()
        assert not [secret for secret in secrets if secret in arguments]


def test_parts_listen_on_loopback_only(parts: Stack) -> None:
    any_address, listening = "00000000", "0A"
    for process in parts.processes.values():
        wanted = f"{any_address}:{process.service.port:04X}"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            assert (line.split()[1], line.split()[3]) != (wanted, listening)


def test_secrets_are_private_and_kept(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    first = folder_secrets(folder, kept=False)
    assert (folder.path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder_secrets(folder, kept=True) == first
    assert len(set(first.values())) == len(first)


# Outages, and what survives them


@pytest.mark.parametrize("part", DATA_PARTS)
def test_part_comes_back_on_its_port_after_a_stop_and_a_crash(parts: Stack, part: str) -> None:
    with as_role(parts, "MIGRATION_DATABASE_URL") as connection:
        connection.execute("create table if not exists public.kept (n int)")
        connection.execute("insert into public.kept values (1)")
    for end in (parts.stop, parts.kill):
        end(part)
        assert part not in parts.pids
        parts.start(part)
    assert ping(parts)
    with as_role(parts, "MIGRATION_DATABASE_URL") as connection:
        assert connection.execute("select n from public.kept").fetchall() == [(1,)]
        connection.execute("drop table public.kept")


def test_paused_part_is_silent_until_it_is_resumed(parts: Stack) -> None:
    with as_role(parts, "DATABASE_URL") as connection:
        parts.pause("valkey")
        parts.pause("postgres")
        try:
            with pytest.raises(redis.TimeoutError):
                ping(parts)
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(parts.env["DATABASE_URL"], connect_timeout=2)
        finally:
            parts.resume("postgres")
            parts.resume("valkey")
        assert ping(parts)
        assert connection.execute("select 1").fetchone() == (1,)


def test_killed_holder_leaves_no_process_and_loses_nothing(tmp_path: Path) -> None:
    holder, described = hold(tmp_path)
    with psycopg.connect(described["env"]["MIGRATION_DATABASE_URL"]) as connection:
        connection.execute("create table public.kept as select 42 as n")
    backends = _family(described["pids"]["postgres"])
    kill(holder)
    wait_until(lambda: all(is_gone(pid) for pid in [*described["pids"].values(), *backends]))
    with Stack(tmp_path, DATA_PARTS) as again:
        assert again.env == described["env"]
        with as_role(again, "MIGRATION_DATABASE_URL") as connection:
            assert connection.execute("select n from public.kept").fetchone() == (42,)


def test_holder_and_postmaster_killed_together_still_start_again(tmp_path: Path) -> None:
    holder, described = hold(tmp_path)
    os.kill(described["pids"]["postgres"], signal.SIGKILL)
    kill(holder)
    with Stack(tmp_path, DATA_PARTS) as again:
        assert again.pids.keys() == described["pids"].keys()


def test_pid_file_that_names_a_stranger_does_not_prevent_a_start(tmp_path: Path) -> None:
    with Stack(tmp_path, ["postgres"]) as first:
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        first.kill("postgres")
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with Stack(tmp_path, ["postgres"]) as again:
        assert again.pids


def test_interrupted_initdb_is_begun_anew(tmp_path: Path) -> None:
    leftover = tmp_path / "postgres.incomplete"
    leftover.mkdir()
    (leftover / "PG_VERSION").write_text("17\n")
    with Stack(tmp_path, ["postgres"]) as stack:
        assert stack.pids
    assert not leftover.exists()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


# One at a time


def test_second_holder_learns_who_the_first_is(parts: Stack) -> None:
    second = Stack(parts.folder.path, DATA_PARTS)
    with pytest.raises(StartError, match=rf"already running, pid {os.getpid()}, with the data in"):
        second.start()
    assert ping(parts)


def test_running_instance_is_described_to_others_and_forgotten_with_its_lock(
    tmp_path: Path,
) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    folder.lock()
    folder.describe({"url": "http://x"})
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    assert DataFolder(tmp_path).description() == {"url": "http://x"}
    folder.unlock()
    assert (tmp_path / "run.json").exists(), "a crash would leave it"
    assert DataFolder(tmp_path).description() is None


def test_asking_who_runs_never_prevents_a_start(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    for _ in range(20):
        assert DataFolder(tmp_path).holder() is None
        folder.lock()
        assert DataFolder(tmp_path).holder() == os.getpid()
        folder.unlock()


def test_occupied_port_is_not_chosen_and_its_holder_is_named() -> None:
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: not is_free(port))
        assert free_port(prefer=port) != port
        assert f"pid {server.pid}, " in str(port_holder(port))
    finally:
        server.kill()
        server.wait()
    assert free_port(prefer=port) == port


# Damage is named and nothing is deleted


@pytest.fixture
def made(tmp_path: Path) -> Path:
    with Stack(tmp_path, ["postgres"]):
        pass
    return tmp_path


def test_damaged_cluster_is_named_and_left_alone(made: Path) -> None:
    (made / "postgres" / "PG_VERSION").unlink()
    before = sorted(path.name for path in (made / "postgres").iterdir())
    with pytest.raises(StartError, match=r"is damaged.*Nothing was changed") as refused:
        Stack(made, ["postgres"]).start()
    assert str(made / "postgres") in str(refused.value)
    assert sorted(path.name for path in (made / "postgres").iterdir()) == before


def test_cluster_of_another_version_is_named(made: Path) -> None:
    (made / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StartError, match="made by PostgreSQL 12"):
        Stack(made, ["postgres"]).start()


@pytest.mark.parametrize("content", ["{", "[]", '{"redis_password": 3}', "{}", "\x00\x01"])
def test_damaged_secrets_are_named_and_left_alone(made: Path, content: str) -> None:
    (made / "secrets.json").write_text(content)
    with pytest.raises(StartError, match=r"secrets\.json is damaged"):
        Stack(made, ["postgres"]).start()
    assert (made / "secrets.json").read_text() == content


def test_missing_secrets_beside_a_database_are_not_made_anew(made: Path) -> None:
    (made / "secrets.json").unlink()
    with pytest.raises(StartError, match=r"secrets\.json is missing"):
        Stack(made, ["postgres"]).start()
    assert not (made / "secrets.json").exists()


def test_secrets_of_another_folder_are_recognised(made: Path) -> None:
    content = json.loads((made / "secrets.json").read_text())
    content[SUPERUSER_PASSWORD] = "another"
    (made / "secrets.json").write_text(json.dumps(content))
    with pytest.raises(StartError, match="the two don't belong together"):
        Stack(made, ["postgres"]).start()


def test_nearly_full_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(StartError, match="MB left"):
        Stack(tmp_path / "data", DATA_PARTS).start()
    assert not (tmp_path / "data" / "secrets.json").exists()


def test_disk_that_fills_up_meanwhile_is_named(tmp_path: Path) -> None:
    # Every write to this device ends with "no space left".
    with pytest.raises(StartError, match="The disk is full"), explained(tmp_path):
        Path("/dev/full").write_text("x")


def test_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartError, match="data"):
        Stack(tmp_path / "data", DATA_PARTS).start()


def test_folder_without_permission_is_named() -> None:
    if os.geteuid() == 0:
        path = Path("/proc/1/aisaas")
        expected = "could not be used|no permission"
    else:
        path, expected = Path("/aisaas-data"), "no permission"
    with pytest.raises(StartError, match=expected):
        Stack(path, DATA_PARTS).start()


# Processes


def test_killed_caller_ends_a_build_with_everything_it_started(tmp_path: Path) -> None:
    caller = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys; from pathlib import Path; from childprocess.processes import run;"
            "run(['sh', '-c', 'sleep 600 & echo $$ $!; wait'], log=Path(sys.argv[1]))",
            str(tmp_path / "log"),
        ],
        cwd=ROOT,
    )
    log = tmp_path / "log"
    wait_until(lambda: log.exists() and len(log.read_text().split()) == 2)
    started = [int(pid) for pid in log.read_text().split()]
    caller.kill()
    caller.wait()
    wait_until(lambda: all(is_gone(pid) for pid in started))


def web_server(folder: Path, name: str) -> Process:
    port = free_port()
    return Process(
        Service(
            name=name,
            title=name,
            port=port,
            argv=[sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
            cwd=folder,
            log=folder / f"{name}.log",
            answers=lambda: answers_http(port, "/"),
        )
    )


def test_supervisor_restarts_what_dies_on_its_port_and_says_so(tmp_path: Path) -> None:
    processes = [web_server(tmp_path, "one"), web_server(tmp_path, "two")]
    for process in processes:
        process.start()
    first = processes[1].pid
    assert first is not None
    said: list[str] = []
    changes: list[int | None] = []

    def changed() -> None:
        changes.append(processes[1].pid)
        os.kill(os.getpid(), signal.SIGTERM)

    os.kill(first, signal.SIGKILL)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            Supervisor(processes, say=said.append, changed=changed).watch()
        assert said == ["two has ended unexpectedly; starting it again.", "two is back."]
        assert changes == [processes[1].pid]
        assert processes[1].pid != first
        assert all(process.service.answers() for process in processes)
    finally:
        for process in processes:
            process.stop()
    assert all(is_free(process.service.port) for process in processes)


def test_process_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    process = Process(
        Service(
            name="broken",
            title="Broken",
            port=free_port(),
            argv=["sh", "-c", "echo the reason >&2; exit 3"],
            log=tmp_path / "broken.log",
            answers=lambda: False,
        )
    )
    with pytest.raises(StartError, match=r"Broken ended at once.*the reason.*broken\.log"):
        process.start()


def test_process_that_ignores_its_signal_is_ended_by_force(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = Process(
        Service(
            name="deaf",
            title="Deaf",
            port=free_port(),
            argv=["sh", "-c", f"trap '' TERM; sleep 600 & echo $! > {ready}; wait; wait"],
            log=tmp_path / "deaf.log",
            answers=lambda: ready.exists() and bool(ready.read_text()),
        )
    )
    process.start()
    pid, child = process.pid, int(ready.read_text())
    process.stop(seconds=0.2)
    assert pid is not None
    wait_until(lambda: is_gone(pid) and is_gone(child))
