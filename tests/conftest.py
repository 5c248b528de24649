"""The embedded parts, started once for all tests: real servers in a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from aisaas.adapters import redis_client
from aisaas.db.migrate import upgrade
from aisaas.embedded.stack import Stack
from aisaas.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Generator[None]:
    """Neither the developer's shell nor their `.env` decides what is tested, or lends its keys."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.setitem(Settings.model_config, "env_file", None)
        yield


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """Postgres, Valkey, the sign-in server and the demo model, migrated and at full speed."""
    os.environ["DEMO_TOKENS_PER_SECOND"] = "0"
    with Stack(tmp_path_factory.mktemp("aisaas")) as running:
        upgrade(running.env["MIGRATION_DATABASE_URL"])
        yield running


@pytest.fixture(scope="session")
def spare_stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """A second install, for what would disturb the others: outages, and the very first account."""
    parts = ("postgres", "valkey", "auth")
    with Stack(tmp_path_factory.mktemp("spare"), parts) as running:
        upgrade(running.env["MIGRATION_DATABASE_URL"])
        yield running


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with something else for a moment must not look like an outage."""
    monkeypatch.setattr(redis_client, "COMMAND_SECONDS", 5.0)
