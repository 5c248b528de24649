"""The embedded parts, started once for all tests: real servers in a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from aisaas.db.migrate import upgrade
from aisaas.embedded.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """Postgres, Valkey, the sign-in server and the demo model, migrated and at full speed."""
    os.environ["DEMO_TOKENS_PER_SECOND"] = "0"
    with Stack(tmp_path_factory.mktemp("aisaas")) as running:
        upgrade(running.env["MIGRATION_DATABASE_URL"])
        yield running
