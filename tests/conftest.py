"""The embedded parts, started once for all tests: real servers in a folder of their own."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from itertools import zip_longest
from pathlib import Path

import hypothesis
import psycopg
import pytest
import pytest_asyncio
from playwright import sync_api as playwright

from aisaas.db.migrate import upgrade
from aisaas.jobs.lifespan import running
from aisaas.settings import Settings, load
from aisaas.wiring import Services, build
from devstack.stack import Stack
from tests.parts import LIMITS, PATIENT, PATIENT_SECONDS
from tests.services import EMBEDDED, HIGH_CAPS, NO_SENDERS, Build, Database, write_catalogue

# How long an example takes is the machine's.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
# How soon a page follows is, too: what is expected of it is looked for until then.
playwright.expect.set_options(timeout=60_000)


# Files that take long start first, so that no worker is still busy with one when the others are done.
SLOW_FIRST = (
    "tests/install/test_lock.py",
    "tests/chat/test_survival.py",
    "tests/metering/test_invoices.py",
    "tests/metering/test_subscription_changes.py",
    "tests/adapters/test_sealed_network.py",
    "devstack/tests/",
    "tests/chat/",
)
# Tests with a browser, or with several processes of the app, keep more than one core busy.
HEAVY = ("tests/ui/", "tests/serve/")

# SEED=42 runs files, and the tests in each, in the random order of that seed; SEED=random chooses one.
if os.environ.get("SEED") == "random":
    os.environ["SEED"] = str(random.randrange(1_000_000))
SEED = os.environ.get("SEED")


def pytest_report_header() -> str | None:
    return f"random order: SEED={SEED}" if SEED else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Heavy files and others take turns, so that workers don't all have a heavy one at once."""
    if SEED:
        random.Random(SEED).shuffle(items)

    def rank(item: pytest.Item) -> int:
        slow = (i for i, start in enumerate(SLOW_FIRST) if item.nodeid.startswith(start))
        return next(slow, len(SLOW_FIRST))

    files: dict[Path, list[pytest.Item]] = {}
    for item in sorted(items, key=rank):
        files.setdefault(item.path, []).append(item)
    lanes: tuple[list[list[pytest.Item]], ...] = ([], [])
    for tests in files.values():
        lanes[tests[0].nodeid.startswith(HEAVY)].append(tests)
    turns = zip_longest(*lanes, fillvalue=[])
    items[:] = [item for turn in turns for tests in turn for item in tests]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports go from worker to controller as UTF-8; what a test logged may have no such form."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Generator[None]:
    """Neither the developer's shell nor their `.env` decides what is tested, or lends its keys."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.setitem(Settings.model_config, "env_file", None)
        # Tests make thousands of accounts, whose hashes need no protection.
        patch.setenv("AUTH_PASSWORD_KIB", "64")
        yield


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """Postgres, Valkey, the sign-in server and the demo model, migrated and at full speed."""
    os.environ |= {"DEMO_TOKENS_PER_SECOND": "0", "PAYMENTS_STRICT": "true"}
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


@pytest.fixture(scope="session")
def confirming_stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """An install whose sign-in server wants addresses confirmed by mail."""
    parts = ("postgres", "valkey", "auth")
    with Stack(tmp_path_factory.mktemp("confirming"), parts, autoconfirm=False) as running:
        upgrade(running.env["MIGRATION_DATABASE_URL"])
        yield running


@pytest.fixture(scope="session", autouse=True)
def patience() -> Generator[None]:
    """A machine that is busy with something else must not look like an outage; `outage` ends this."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in LIMITS:
            patch.setattr(module, name, PATIENT.get((module, name), PATIENT_SECONDS))
        yield


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue(tmp_path_factory.mktemp("catalogue") / "catalogue.json")


@pytest.fixture(scope="session")
def build_services(stack: Stack, catalogue: Path) -> Build:
    """Services of one more process; settings by keyword."""

    @asynccontextmanager
    async def make(**overrides: object) -> AsyncGenerator[Services]:
        values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
        values |= {
            "embedded_parts": EMBEDDED,
            "model_catalogue": catalogue,
            "default_model": "demo",
            "shutdown_grace_seconds": 0.2,
            "free_tokens_per_month": 1_000_000,
            "free_requests_per_minute": 1000,
            "free_requests_per_day": 10_000,
            **HIGH_CAPS,
            **NO_SENDERS,
        }
        services = build(load(**(values | overrides)))
        async with running(services):
            # Importing it takes longer on a busy machine than a first word may.
            await services.model.warm()
            yield services

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_services(build_services: Build) -> AsyncGenerator[Services]:
    # Without jobs: its names in Redis are those of development, and it would recover the replies of
    # processes that tests start as another environment, without finding their text.
    async with build_services(run_jobs=False) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def services(shared_services: Services) -> AsyncGenerator[Services]:
    """Of this process. What a test leaves running holds no lock afterwards: a test without an event loop
    may follow, and all of it would stand still within its transactions."""
    yield shared_services
    async with asyncio.timeout(60):
        while any(
            use.in_use for pools in shared_services.pools().values() for use in pools.values()
        ):
            await asyncio.sleep(0.01)


@pytest.fixture
def database(stack: Stack) -> Database:
    """Runs SQL as the schema's owner: to look, and to age things."""

    def run(sql: str, *args: object) -> list[tuple[object, ...]]:
        with psycopg.connect(stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            cursor = connection.execute(sql, args)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

    return run
