"""An admin and someone else in a Chromium each, and a way to put things into their database."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, Page

from aisaas.cli.instance import running_in
from childprocess.folder import DataFolder
from tests.ui.conftest import Execute, SignUp, browsing, make_admin, signed_up


@pytest.fixture
def member(chromium: Browser, url: str) -> Generator[Page]:
    """Someone else, at a device of theirs."""
    with browsing(chromium, url) as device:
        yield signed_up(device)


@pytest.fixture
def admin(sign_up: SignUp, shared_folder: Path) -> Page:
    page = sign_up()
    make_admin(page, shared_folder)
    return page


@pytest.fixture
def execute(url: str, shared_folder: Path) -> Execute:
    """Runs a statement as the schema's owner."""
    running = running_in(DataFolder(shared_folder / "data"))
    assert running is not None
    assert running.url == url

    def run(statement: str, *values: object) -> None:
        with psycopg.connect(running.env["MIGRATION_DATABASE_URL"], autocommit=True) as database:
            database.execute(statement, values)  # pyright: ignore[reportArgumentType]

    return run
