"""Commands and files in the documents work, as far as this machine can tell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis
import yaml
from psycopg import sql
from pydantic import SecretStr

from aisaas.cli import COMMANDS, parse
from aisaas.cli.build.frontend import SERVER_ONLY
from aisaas.cli.checklist import database
from aisaas.cli.checklist.database import connections
from aisaas.settings import PROJECT_ROOT, Settings
from devstack.postgres import find_binaries
from devstack.stack import Stack
from tests.install.test_lock import LOCKS
from tests.production.conftest import Configure, by_item

GUIDE = PROJECT_ROOT / "docs" / "deploy.md"
AT_THE_TOP = sorted(PROJECT_ROOT.glob("*.md"))
DOCUMENTS = [*AT_THE_TOP, *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]
# A decision says what was so on its day.
OF_TODAY = [path for path in DOCUMENTS if path.parent.name != "decisions"]
# Documents that are about the code, so that what they name has to be there.
OF_THE_CODE = [*AT_THE_TOP, PROJECT_ROOT / "docs" / "architecture.md"]
# Made on this machine.
MADE = {".aisaas/"}
FOLDERS = ("", "aisaas", "tests", "tests/ui", "docs", ".github")
COMMAND = re.compile(r"(?:python|python3) -m aisaas\b([^\n`|→]*)")
# Where a command ends and the shell goes on.
END = re.compile(r"\s(?:&&|;|>|#)\s|[;,.]$|\)$")


def _commands() -> Iterator[tuple[str, str]]:
    # Elsewhere commands are spoken of, rather than to be copied.
    sources = [
        *AT_THE_TOP,
        GUIDE,
        PROJECT_ROOT / "docs" / "commands.md",
        *(PROJECT_ROOT / "docs" / "operations").glob("*.md"),
    ]
    sources += [*sorted((PROJECT_ROOT / "deploy").rglob("*.service"))]
    sources += sorted((PROJECT_ROOT / "deploy").glob("*.sh"))
    sources += sorted((PROJECT_ROOT / "aisaas" / "cli" / "checklist").glob("*.py"))
    for path in sources:
        for match in COMMAND.finditer(path.read_text()):
            words = END.split(match[1])[0].replace("{live}", " --live").strip(" '\"")
            if words:
                yield path.relative_to(PROJECT_ROOT).as_posix(), words
    for name, service in yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())[
        "services"
    ].items():
        if name in {"app", "worker", "migrate"}:
            yield "compose.yaml", shlex.join(service["command"]).replace("'${WORKERS:-2}'", "2")
    image = re.search(r"(?m)^CMD (\[.*\])$", (PROJECT_ROOT / "Dockerfile").read_text())
    assert image is not None
    yield "Dockerfile", shlex.join(yaml.safe_load(image[1]))


@pytest.mark.parametrize(("where", "words"), sorted(set(_commands())))
def test_command_is_one_that_the_command_line_takes(where: str, words: str) -> None:
    # A reason in Python's quotes is closed behind what was found.
    argv = shlex.split(words if words.count('"') % 2 == 0 else words + '"')
    assert _ends_with(argv) == 0, f"{where}: {words}"


def _ends_with(argv: list[str]) -> int:
    try:
        parse(argv)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_every_document_was_read_for_commands() -> None:
    places = {where for where, _ in _commands()}
    assert {"README.md", "docs/deploy.md", "compose.yaml", "Dockerfile"} <= places
    assert {"CONTRIBUTING.md", "docs/commands.md"} <= places
    assert any(where.startswith("aisaas/cli/checklist/") for where in places)
    assert sum(where == "docs/deploy.md" for where, _ in _commands()) >= 8


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        if urlsplit(link).scheme == "":
            assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", OF_THE_CODE, ids=lambda path: path.name)
def test_files_and_folders_that_are_named_exist(document: Path) -> None:
    assert _missing(document.read_text()) == []


def test_missing_file_or_folder_is_found() -> None:
    text = "`Makefile`, `api/app.py`, `aisaas/no_such.py`, `jobs/no/`, `api/health`, `a/b`, `docs/*.md`"
    assert _missing(text) == ["aisaas/no_such.py", "jobs/no/"]


def _missing(text: str) -> list[str]:
    """Paths in code spans that lead nowhere, from the project's folder or one that goes without saying."""
    # A name without a folder is a file's role, the same in many folders.
    named = re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+\.[a-z]+)?)`", text)
    return [
        name
        for name in named
        if name not in MADE
        and not any((PROJECT_ROOT / folder / name).exists() for folder in FOLDERS)
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_names_in_upper_case_beside_a_module_are_in_it(document: Path) -> None:
    for name, path in re.findall(
        r"`([A-Z_]+)` (?:of|in) `(aisaas/[\w/]+\.py)`", document.read_text()
    ):
        assert re.search(rf"(?m)^{name}\b", (PROJECT_ROOT / path).read_text()), f"{name} in {path}"


@pytest.mark.parametrize("document", OF_TODAY, ids=lambda path: path.name)
def test_targets_of_make_that_are_named_exist(document: Path) -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    for target in re.findall(
        r"(?m)(?:`|^)(?:[A-Z]+=\S+ )?make ([a-z][a-z-]*)", document.read_text()
    ):
        assert re.search(rf"(?m)^{target}:", makefile), target


def test_every_target_that_help_shows_is_in_the_contributors_guide() -> None:
    shown = re.findall(r"@echo 'make ([a-z-]+) ", (PROJECT_ROOT / "Makefile").read_text())
    assert len(shown) >= 8
    guide = (PROJECT_ROOT / "CONTRIBUTING.md").read_text()
    assert [name for name in shown if f"| `make {name}" not in guide] == []


def test_guide_says_which_changes_need_no_build() -> None:
    guide = (PROJECT_ROOT / "CONTRIBUTING.md").read_text()
    listed = re.search(r"code that no page contains \(([^)]+)\)", guide)
    assert listed is not None
    assert {Path(name).name for name in re.findall(r"`([\w/]+)`", listed[1])} == SERVER_ONLY


def test_every_command_is_listed() -> None:
    listed = (PROJECT_ROOT / "docs" / "commands.md").read_text()
    assert [name for name in COMMANDS if f"| `python -m aisaas {name}" not in listed] == []


def test_map_leads_to_every_document() -> None:
    map_of_all = PROJECT_ROOT / "docs" / "README.md"
    links = re.findall(r"\]\(([^)#\s]+)", map_of_all.read_text())
    led_to = {(map_of_all.parent / link).resolve() for link in links}
    decisions = PROJECT_ROOT / "docs" / "decisions"
    assert decisions in led_to
    assert [
        str(path)
        for path in DOCUMENTS
        if path not in led_to and path != map_of_all and path.parent != decisions
    ] == []


@pytest.mark.parametrize("document", AT_THE_TOP, ids=lambda path: path.name)
def test_headings_that_are_linked_exist(document: Path) -> None:
    for link, heading in re.findall(r"\]\(([^)#\s]+\.md)#([^)\s]+)\)", document.read_text()):
        titles = re.findall(r"(?m)^#+ (.+)$", (document.parent / link).read_text())
        slugs = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert heading in slugs, f"{link}#{heading}"


def test_hooks_before_a_commit_run_programs_of_the_environment_and_fetch_nothing() -> None:
    config = yaml.safe_load((PROJECT_ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} >= {"ruff-format", "ruff", "import-rules"}
    for hook in hooks:
        program, *arguments = shlex.split(hook["entry"])
        assert hook["language"] == "system"
        assert program.startswith(".venv/bin/")
        files = ["rxconfig.py"] if hook.get("pass_filenames", True) else []
        ran = subprocess.run(
            [program, *arguments, *files],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_updates_of_dependencies_cover_every_lock_and_wait_a_week() -> None:
    config = yaml.safe_load((PROJECT_ROOT / ".github" / "dependabot.yml").read_text())
    folders: dict[str, set[str]] = {}
    for update in config["updates"]:
        assert update["schedule"] == {"interval": "weekly"}
        assert update["cooldown"] == {"default-days": 7}
        listed = update.get("directories") or [update["directory"]]
        folders[update["package-ecosystem"]] = {folder.strip("/") for folder in listed}
    assert folders["pip"] == {str(Path(lock).parent).replace(".", "") for lock in LOCKS}
    assert folders["npm"] == {"reflex.lock"}
    assert folders["github-actions"] == {""}
    assert "timedelta(7)" in (PROJECT_ROOT / "Makefile").read_text()


def test_guide_names_settings_and_files_that_there_are() -> None:
    text = GUIDE.read_text()
    written = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", text))
    written |= set(re.findall(r"(?m)^ *([A-Z][A-Z0-9_]+)=", text))
    of_deployment = {"PREVIEW_DOMAIN", "REDIS_PASSWORD", "IMAGE"}
    of_deployment |= {"SSH_TARGET", "SSH_KNOWN_HOSTS", "SSH_KEY", "PGOPTIONS"}
    of_deployment |= {"REGISTRY_USER", "REGISTRY_PASSWORD"}
    assert written - {name.upper() for name in Settings.model_fields} <= of_deployment
    for path in set(re.findall(r"\bdeploy/[\w./-]+\w", text)):
        assert (PROJECT_ROOT / path).exists(), path
    for name in re.findall(r"`([a-z-]+\.yaml)`", text):
        assert any(PROJECT_ROOT.rglob(name)) or any((PROJECT_ROOT / ".github").rglob(name))


def test_guide_says_how_each_secret_is_replaced() -> None:
    section = (
        GUIDE.read_text().partition("## Rotate secrets without downtime")[2].partition("\n## ")[0]
    )
    of_the_laptop = {"demo_api_key"}
    for name, field in Settings.model_fields.items():
        if SecretStr in get_args(field.annotation) and name not in of_the_laptop:
            assert f"`{name.upper()}`" in section, name


def test_logins_of_the_guide_pass_the_checklist(
    configure: Configure, superuser: psycopg.Connection, owner: psycopg.Connection
) -> None:
    block = re.search(r"```sql\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert block is not None
    names = {name: f"{name}_{uuid4().hex}" for name in ("app_rw", "app_service")}
    script = block[1]
    for name, own in names.items():
        script = script.replace(name, own)
    config = configure()
    assert config.database_url is not None
    parts = urlsplit(config.database_url.get_secret_value())

    def address(login: str, password: str) -> str:
        netloc = f"{login}:{password.replace(' ', '%20')}@{parts.hostname}:{parts.port}"
        return parts._replace(netloc=netloc).geturl()

    try:
        # As `postgres`, who is no superuser there either.
        owner.execute(script.encode())
        ours = configure(
            database_url=address(names["app_rw"], "first password"),
            service_database_url=address(names["app_service"], "second password"),
        )
        with connections(ours) as to:
            found = by_item(database.look(ours, to))
        assert [each for each in found.values() if each.state != "ok"] == []
    finally:
        for own in names.values():
            superuser.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(own)))


@pytest.mark.usefixtures("people")
def test_backup_of_the_guide_is_restored_as_it_says(
    stack: Stack,
    database_name: str,
    owner: psycopg.Connection,
    superuser: psycopg.Connection,
    tmp_path: Path,
) -> None:
    section = GUIDE.read_text().partition("## Backup and restore")[2]
    backup, restore = re.findall(r"(?ms)^ *```\n(.*?)^ *```$", section)[:2]
    binaries = find_binaries()
    if not (binaries / "pg_restore").is_file():
        pytest.skip("no programs for backups on this machine")
    url = stack.env["MIGRATION_DATABASE_URL"]

    def run(script: str, database: str) -> None:
        address = urlsplit(url)._replace(path=f"/{database}").geturl()
        path = f"{binaries}:{os.environ['PATH']}"
        environment = {"PATH": path, "MIGRATION_DATABASE_URL": address}
        subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=environment, check=True)

    run(backup, database_name)
    # After losing everything there is the schema of `migrate` and no users.
    counted = "select (select count(*) from profiles), (select count(*) from conversations)"
    assert owner.execute(counted).fetchone() == (2, 1)
    people = owner.execute("select id from profiles order by id").fetchall()
    # History doesn't go with its account at once, so it is named.
    owner.execute("truncate auth.users, conversations, refusals cascade")
    assert owner.execute(counted).fetchone() == (0, 0)
    # Hosted, `postgres` may do that; here nobody else needs it.
    superuser.execute("grant set on parameter session_replication_role to postgres")
    try:
        run(restore, database_name)
    finally:
        superuser.execute("revoke set on parameter session_replication_role from postgres")
    assert owner.execute(counted).fetchone() == (2, 1)
    assert owner.execute("select id from profiles order by id").fetchall() == people


def test_password_of_redis_is_replaced_as_the_guide_says(composed_redis: str) -> None:
    former = urlsplit(composed_redis).password
    assert former is not None
    renewed = composed_redis.replace(former, "the-new-one")
    for command in (">new", "<old"):
        assert f"ACL SETUSER default {command}" in GUIDE.read_text()
    admin: Any = redis.Redis.from_url(composed_redis)
    admin.execute_command("ACL", "SETUSER", "default", ">the-new-one")
    assert _lets_in(composed_redis)
    assert _lets_in(renewed)
    admin.execute_command("ACL", "SETUSER", "default", f"<{former}")
    assert not _lets_in(composed_redis)
    assert _lets_in(renewed)
    admin.close()


def _lets_in(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())  # pyright: ignore[reportUnknownMemberType]
        except redis.AuthenticationError:
            return False
