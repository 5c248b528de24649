"""Both checks on a database that nobody has migrated yet, or an older release has: they say so, and go on."""

from __future__ import annotations

from collections.abc import Generator

import psycopg
import pytest

from aisaas.cli import environment, main
from aisaas.cli.checklist import check
from aisaas.cli.checklist import production as checklist
from aisaas.db.migrate import alembic_config
from aisaas.settings import load
from alembic import command
from devstack.stack import Stack
from tests.production.conftest import LOGINS, SUPABASE, _elsewhere, _made, by_item
from tests.services import EMBEDDED

OLD = "0005"


@pytest.fixture(params=["nothing at all", "a Supabase database", "an older release's"])
def behind(stack: Stack, request: pytest.FixtureRequest) -> Generator[dict[str, str]]:
    """The addresses of a database whose schema is not the newest."""
    with _made(stack, "template1") as name:
        urls = {login: _elsewhere(stack.env[login], name) for login in LOGINS}
        owner = urls["MIGRATION_DATABASE_URL"]
        if request.param != "nothing at all":
            with psycopg.connect(owner, autocommit=True) as connection:
                connection.execute(SUPABASE)
        if request.param == "an older release's":
            config = alembic_config()
            config.attributes.update(url=owner, wait_seconds=60)
            command.upgrade(config, OLD)
        yield urls


def test_check_says_migrate_and_goes_on(
    behind: dict[str, str],
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**stack.env, **behind, "EMBEDDED_PARTS": EMBEDDED}.items():
        monkeypatch.setenv(name, value)
    environment.configured.cache_clear()
    monkeypatch.setattr(check, "running", lambda: None)
    try:
        assert main(["check"]) == 1
    finally:
        environment.configured.cache_clear()
    printed = capsys.readouterr()
    lines = {line[: check.NAME_WIDTH].strip(): line for line in printed.out.splitlines()}
    assert "`python -m aisaas migrate`" in lines["Schema"]
    for part in ("Database", "Database (jobs)", "Redis", "Sign-in", "Demo model", "Payments"):
        assert " ok" in lines[part], part
    for part in ("Usage totals", "Prices", "Usage"):
        assert "needs the newest schema" in lines[part]
    assert "front end" in lines
    assert printed.err == ""


def test_the_launch_checklist_says_migrate_and_goes_on(
    behind: dict[str, str], stack: Stack
) -> None:
    values: dict[str, object] = {name.lower(): v for name, v in {**stack.env, **behind}.items()}
    found = by_item(
        checklist.look(load(**(values | {"embedded_parts": EMBEDDED, "stripe_secret_key": None})))
    )
    assert found["migrations"].state == "failed"
    assert "python -m aisaas migrate" in found["migrations"].fix
    for item in (*checklist.NEED_THE_SCHEMA, "caps", "kill switch"):
        assert found[item].state in {"skipped", "ok"}, item
    for item in ("login of requests", "clock: database", "Redis", "models", "sign-in", "front end"):
        assert item in found, item
    assert not any("Traceback" in each.said for each in found.values())
