"""The files that a deployment is made of fit the product. What needs a host of its own (an image that is
built, a workflow that runs) is not tried here; what they run is.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from aisaas.cli.build import frontend
from aisaas.cli.checklist import cache
from aisaas.process.server import STOP_MARGIN_SECONDS
from aisaas.settings import PROJECT_ROOT, Settings, load
from tests.production.conftest import by_item
from tests.production.test_configuration import READY

DEPLOY = PROJECT_ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
SETTINGS = {name.upper() for name in Settings.model_fields}
# What compose, the scripts and the interpreter know besides the product's settings.
OTHERS = {"IMAGE", "WORKERS", "REDIS_PASSWORD", "PREVIEW", "APP_UPSTREAM", "PATH"}
OTHERS |= {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def services() -> Mapping[str, Any]:
    return _yaml(PROJECT_ROOT / "compose.yaml")["services"]


# Containers


def test_every_variable_of_the_containers_is_a_setting() -> None:
    composed = (PROJECT_ROOT / "compose.yaml").read_text()
    composed += (DEPLOY / "preview" / "compose.yaml").read_text()
    named = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", composed))
    for path in (PROJECT_ROOT / "compose.yaml", DEPLOY / "preview" / "compose.yaml"):
        for service in _yaml(path)["services"].values():
            named |= set(service.get("environment", {}))
    named |= set(re.findall(r"\b([A-Z_]+)=", (PROJECT_ROOT / "Dockerfile").read_text()))
    named -= {"PYTHON", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_CACHE_DIR"}
    assert named - SETTINGS <= OTHERS, named - SETTINGS - OTHERS


def test_owners_password_is_where_migrations_run_and_nowhere_else(
    services: Mapping[str, Any],
) -> None:
    assert services["migrate"]["env_file"] == ".env.migration"
    assert services["migrate"]["profiles"], "it must not start with the others"
    for name in ("app", "worker"):
        assert services[name]["env_file"] == ".env"
        assert "MIGRATION_DATABASE_URL" not in services[name]["environment"]


def test_only_the_proxy_can_be_reached_from_outside(services: Mapping[str, Any]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert services["redis"]["networks"] == ["inside"]
    assert _yaml(PROJECT_ROOT / "compose.yaml")["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("name", ["app", "worker", "migrate"])
def test_our_containers_can_do_little(name: str, services: Mapping[str, Any]) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service, "the image says who"


def test_containers_are_given_the_time_that_replies_get(services: Mapping[str, Any]) -> None:
    app = services["app"]
    needed = float(app["environment"]["SHUTDOWN_GRACE_SECONDS"]) + 2 * STOP_MARGIN_SECONDS
    assert float(app["stop_grace_period"].removesuffix("s")) > needed


def test_image_is_not_root_and_takes_only_packages_that_are_known_by_hash() -> None:
    lines = (PROJECT_ROOT / "Dockerfile").read_text().splitlines()
    last = max(index for index, line in enumerate(lines) if line.startswith("FROM "))
    users = [line for line in lines[last:] if line.startswith("USER ")]
    assert users == ["USER app"]
    assert lines.index(users[0]) > max(i for i, line in enumerate(lines) if "RUN " in line)
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2
    assert all("--no-deps --only-binary :all: --require-hashes" in line for line in installs)
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def _context() -> list[str]:
    """The names at the top that an image is built from."""
    lines = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "what isn't named stays out"
    return [rule.removeprefix("!") for rule in rules if rule.startswith("!")]


def test_image_is_built_from_all_it_needs_and_from_nothing_else() -> None:
    named = set(_context())
    assert named == {
        *("aisaas", "alembic", "assets", "childprocess"),
        *("reflex.lock", "requirements-build.txt", "requirements.txt", "rxconfig.py"),
    }
    assert all((PROJECT_ROOT / name).exists() for name in named)
    # What the pages' build is looked up by, in the container as here.
    assert {*frontend.OTHER_SOURCES, frontend.LOCK.name} <= named
    for secret in (".env", ".env.migration", ".aisaas", ".git", "tests", "devstack", "benchmarks"):
        assert not any(fnmatch(secret, name) for name in named)


def test_redis_of_compose_passes_the_checklist(composed_redis: str) -> None:
    config = load(
        **(READY | {"app_env": "preview", "stripe_secret_key": None, "redis_url": composed_redis})
    )
    found = by_item(cache.look(config))
    assert len(found) == 4
    assert [each for each in found.values() if each.state != "ok"] == []


# systemd


class _Unit(configparser.RawConfigParser):
    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None)
        self.optionxform = str  # type: ignore[assignment]
        self.read(path)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_unit_is_one_that_systemd_takes(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd on this machine")
    # It wants the program to be there.
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace("/opt/aisaas/.venv/bin/python", "/bin/sh"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_unit_is_hardened_and_names_settings_only(path: Path) -> None:
    service = _Unit(path)["Service"]
    assert service["User"] == "aisaas"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    named = set(re.findall(r"(?m)^Environment=(.*)$", path.read_text()))
    variables = {pair.split("=")[0] for line in named for pair in line.split()}
    assert variables <= SETTINGS | OTHERS
    assert ("EnvironmentFile" in service) == (path.stem == "aisaas-migrate")


def test_units_are_given_the_time_that_replies_get() -> None:
    text = (DEPLOY / "systemd" / "aisaas.service").read_text()
    grace = re.search(r"SHUTDOWN_GRACE_SECONDS=(\d+)", text)
    stop = re.search(r"TimeoutStopSec=(\d+)", text)
    assert grace is not None
    assert stop is not None
    assert int(stop[1]) > int(grace[1]) + 2 * STOP_MARGIN_SECONDS


# The proxy


def test_proxy_keeps_operators_pages_to_themselves_and_secrets_out_of_its_log() -> None:
    text = (DEPLOY / "Caddyfile").read_text()
    assert text.count("{") == text.count("}")
    assert "@operators path /metrics /metrics/* /ready" in text
    for field in ("Cookie", "Authorization", "Set-Cookie", "replace token_hash"):
        assert field in text


# Scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_is_one_that_a_shell_takes(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)


Run = Callable[..., "tuple[int, list[str]]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A script, in a folder where `docker` only records its arguments."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / ".env").write_text("APP_NAME=x\nPREVIEW_DOMAIN=preview.example.org\n")
    calls = tmp_path / "calls"
    programs = tmp_path / "bin"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(
        f'#!/bin/sh\necho "IMAGE=$IMAGE $*" >> {calls}\ncase "$*" in *"$FAILS"*) exit 1 ;; esac\n'
    )
    docker.chmod(0o755)

    def running(script: str, *arguments: str, fails: str = "nothing") -> tuple[int, list[str]]:
        calls.write_text("")
        done = subprocess.run(
            [tmp_path / "deploy" / script, *arguments],
            cwd=tmp_path,
            env={"PATH": f"{programs}:{os.defpath}", "FAILS": fails},
            check=False,
        )
        return done.returncode, calls.read_text().splitlines()

    return running


def _words(calls: list[str], *words: str) -> list[str]:
    return [next((word for word in words if word in call), "other") for call in calls]


RELEASE = ("pull", "migrate", "up", "check --production")


def test_release_brings_the_schema_before_the_processes_and_looks_at_the_end(run: Run) -> None:
    status, calls = run("release.sh", "app@sha256:1")
    assert (status, _words(calls, *RELEASE)) == (0, list(RELEASE))
    assert all(call.startswith("IMAGE=app@sha256:1 ") for call in calls)


@pytest.mark.parametrize("fails", RELEASE)
def test_release_ends_at_the_first_thing_that_fails(fails: str, run: Run) -> None:
    status, calls = run("release.sh", "app@sha256:1", fails=fails)
    assert status != 0
    assert _words(calls, *RELEASE) == list(RELEASE[: RELEASE.index(fails) + 1])


def test_preview_comes_and_goes_with_its_address(run: Run, tmp_path: Path) -> None:
    site = tmp_path / "deploy" / "preview" / "sites" / "pr-12.caddy"
    status, calls = run("preview.sh", "up", "12", "app:pr-12")
    assert status == 0
    assert site.read_text().startswith("https://pr-12.preview.example.org {")
    assert "reverse_proxy pr-12:3000" in site.read_text()
    assert _words(calls, "pull", "migrate", "up --detach", "caddy reload")[-1] == "caddy reload"
    assert all("--project-name pr-12 " in call for call in calls[:-1])
    status, calls = run("preview.sh", "down", "12")
    assert (status, site.exists()) == (0, False)
    assert "down --volumes" in calls[-1]


@pytest.mark.parametrize("number", ["", "12; reboot", "../..", "twelve"])
def test_preview_of_anything_but_a_number_is_refused(number: str, run: Run) -> None:
    status, calls = run("preview.sh", "up", number, "app:pr")
    assert (status, calls) == (2, [])


class _Release:
    """A repository whose release before, `base`, names a table, a column and a function."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.versions = folder / "alembic" / "versions"
        self.versions.mkdir(parents=True)
        self.git("init", "--quiet")
        (self.versions / "0001.sql").write_text("create table a ();\n")
        code = folder / "aisaas"
        code.mkdir()
        (code / "store.py").write_text(
            'QUERY = "select color from public.pencils"\nCALL = "select private.reserve()"\n'
        )
        self.commit()
        self.git("tag", "base")

    def git(self, *words: str) -> None:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        subprocess.run(
            ["git", *identity, *words], cwd=self._folder, check=True, capture_output=True
        )

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x")

    def judged(self) -> tuple[int, str]:
        self.commit()
        script = DEPLOY / "migrations-only-grow.sh"
        done = subprocess.run(
            [script, "base"], cwd=self._folder, check=False, capture_output=True, text=True
        )
        return done.returncode, done.stderr


@pytest.fixture
def release(tmp_path: Path) -> _Release:
    return _Release(tmp_path)


def test_migration_that_has_run_may_not_be_changed(release: _Release) -> None:
    (release.versions / "0002.sql").write_text("create table b ();\n")
    assert release.judged() == (0, "")
    (release.versions / "0001.sql").write_text("create table c ();\n")
    assert release.judged()[0] == 1
    release.git("reset", "--hard", "base")
    (release.versions / "0001.sql").rename(release.versions / "0003.sql")
    assert release.judged()[0] == 1


@pytest.mark.parametrize(
    ("name", "migration", "says"),
    [
        ("sql", "alter table public.pencils rename column color to colour;", "Renames"),
        ("sql", "ALTER TABLE pencils\n  RENAME TO crayons;", "Renames"),
        ("sql", "alter function private.reserve() rename to hold;", "Renames"),
        ("sql", "alter table pencils drop column color;", "Drops color"),
        ("sql", 'alter table pencils add x int, drop if exists "color" cascade;', "Drops color"),
        ("sql", "drop table if exists erasers, public.pencils cascade;", "Drops pencils"),
        ("sql", "drop function private.reserve(uuid, int);", "Drops reserve"),
        ("py", "def upgrade():\n    op.drop_column('pencils', 'color')\n", "Drops color"),
        ("py", "def upgrade():\n    op.rename_table('pencils', 'x')\n", "Renames"),
    ],
)
def test_migration_may_not_take_away_what_the_release_before_uses(
    release: _Release, name: str, migration: str, says: str
) -> None:
    (release.versions / f"0002.{name}").write_text(migration)
    status, words = release.judged()
    assert (status, says in words) == (1, True), words


@pytest.mark.parametrize(
    ("name", "migration"),
    [
        # What that release doesn't name; what isn't there to be named; what is back at once.
        ("sql", "alter table pencils drop column length, drop constraint color_check;"),
        ("sql", "alter table pencils alter column color drop not null, alter color drop default;"),
        ("sql", "drop table erasers; drop index pencils_color_idx; drop policy color on pencils;"),
        ("sql", "drop function private.reserve(); create function private.reserve(x int) as 'y';"),
        ("sql", "-- drop table pencils;\ncreate table b ();"),
        ("py", "def upgrade():\n    pass\n\ndef downgrade():\n    op.drop_table('pencils')\n"),
    ],
)
def test_migration_may_drop_what_the_release_before_does_not_use(
    release: _Release, name: str, migration: str
) -> None:
    (release.versions / f"0002.{name}").write_text(migration)
    assert release.judged() == (0, "")


def test_file_that_a_migration_applies_may_change_but_takes_nothing_away(release: _Release) -> None:
    function = release.versions.parent / "functions" / "reserve.sql"
    function.parent.mkdir()
    function.write_text("create or replace function private.reserve() as 'y';")
    release.commit()
    release.git("tag", "--force", "base")
    function.write_text("create or replace function private.reserve() as 'z';")
    assert release.judged() == (0, "")
    function.write_text(f"{function.read_text()} drop table pencils;")
    status, words = release.judged()
    assert (status, "Drops pencils" in words) == (1, True), words


def test_migrations_here_are_ones_that_an_older_release_can_live_with(tmp_path: Path) -> None:
    """Of this very checkout, against the commit before the newest migrations."""
    if shutil.which("git") is None or not (PROJECT_ROOT / ".git").exists():
        pytest.skip("no history here")
    newest = sorted((PROJECT_ROOT / "alembic" / "versions").glob("*.py"))[-1]
    added = ["git", "log", "--diff-filter=A", "--format=%H", "--", str(newest)]
    listed = subprocess.run(added, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    if not listed.stdout.split():
        pytest.skip("the newest migration isn't committed, or the history is cut")
    base = f"{listed.stdout.split()[-1]}~1"
    program = [sys.executable, str(DEPLOY / "backward_compatible.py"), base]
    done = subprocess.run(program, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Workflows

WORKFLOWS = sorted((PROJECT_ROOT / ".github" / "workflows").glob("*.yaml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_may_do_nothing_that_it_does_not_say(path: Path) -> None:
    workflow = _yaml(path)
    assert workflow["permissions"] == {"contents": "read"}
    jobs: Mapping[str, Any] = workflow["jobs"]
    for name, job in jobs.items():
        assert "timeout-minutes" in job, name
        needed = [job["needs"]] if isinstance(job.get("needs", []), str) else job.get("needs", [])
        assert set(needed) <= set(jobs)
        steps = job["steps"]
        assert all(re.search(r"@v\d+$", step["uses"]) for step in steps if "uses" in step)
        # What someone else wrote, like a title, never becomes part of a command.
        assert not any("${{" in step.get("run", "") for step in steps)
        # Keys are those of an environment, which can be protected.
        if "secrets.SSH_KEY" in str(job):
            environment = job["environment"]
            named = environment if isinstance(environment, str) else environment["name"]
            assert named == ("preview" if path.stem == "preview" else "production")


def test_production_waits_for_every_check() -> None:
    jobs = _yaml(PROJECT_ROOT / ".github" / "workflows" / "checks.yaml")["jobs"]
    assert jobs["production"]["needs"] == "image"
    assert set(jobs["image"]["needs"]) == {"check", "test", "install", "migrations"}


def test_previews_are_for_our_own_branches_only() -> None:
    jobs = _yaml(PROJECT_ROOT / ".github" / "workflows" / "preview.yaml")["jobs"]
    ours = "github.event.pull_request.head.repo.full_name == github.repository"
    assert all(ours in job["if"] for job in jobs.values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_runs_is_there(path: Path) -> None:
    text = path.read_text()
    scripts = set(re.findall(r"deploy/[a-z-]+\.sh", text))
    assert scripts
    assert all((PROJECT_ROOT / script).is_file() for script in scripts)
    targets = set(re.findall(r"make ([a-z-]+)", text))
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)
