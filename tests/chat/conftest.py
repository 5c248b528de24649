"""The services on the real embedded parts, and accounts to use them with."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio

from aisaas.accounts.models import Principal
from aisaas.chat.models import Message, Started
from aisaas.embedded.stack import Stack
from aisaas.jobs.lifespan import running
from aisaas.settings import load
from aisaas.wiring import Services, build

EMBEDDED = "postgres,valkey,auth,demo_model"
CATALOGUE = [
    {
        "id": "broken",
        "label": "Broken",
        "provider": "demo",
        "upstream": "openai/no-such-model",
        "context_window": 16000,
        "max_output": 4096,
        "weight": "3",
        "plans": ["free", "pro"],
        "fallback": "demo",
        "price": {"input_usd": "100", "output_usd": "100"},
    },
    {
        "id": "small-window",
        "label": "Small window",
        "provider": "demo",
        "upstream": "openai/demo",
        "context_window": 1000,
        "max_output": 400,
        "weight": "1",
        "plans": ["free", "pro"],
        "fallback": None,
        "price": {"input_usd": "1", "output_usd": "1"},
    },
]

Build = Callable[..., AbstractAsyncContextManager[Services]]
Account = Callable[..., Awaitable[Principal]]


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from aisaas.chat.catalogue import BUNDLED

    path = tmp_path_factory.mktemp("catalogue") / "catalogue.json"
    path.write_text(json.dumps(json.loads(BUNDLED.read_text()) + CATALOGUE))
    return path


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
            "free_tier_daily_usd": 1000,
            "total_daily_usd": 1000,
        }
        services = build(load(**(values | overrides)))
        async with running(services):
            yield services

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def services(build_services: Build) -> AsyncGenerator[Services]:
    async with build_services() as made:
        yield made


@pytest.fixture
def database(stack: Stack) -> Callable[..., list[tuple[object, ...]]]:
    """Runs SQL as the schema's owner: to look, and to age things."""

    def run(sql: str, *args: object) -> list[tuple[object, ...]]:
        with psycopg.connect(stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            cursor = connection.execute(sql, args)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

    return run


async def new_principal(services: Services) -> Principal:
    signed_in = await services.accounts.sign_up(
        f"{uuid4().hex}@example.com", "a long enough password", "Ada", user_agent="tests"
    )
    assert signed_in is not None
    return await services.accounts.principal(f"{services.cookie}={signed_in.token}")


@pytest.fixture
def account(services: Services) -> Account:
    """A fresh account, as whoever asks."""

    async def make(using: Services | None = None) -> Principal:
        return await new_principal(using or services)

    return make


async def whole(services: Services, principal: Principal, started: Started) -> tuple[str, Message]:
    """Follow a reply to its end: what was shown, and what is stored."""
    shown = ""
    async for segment in services.chat.follow(principal, started.reply.id):
        assert segment.offset == len(shown)
        shown += segment.text
    return shown, await services.chat.message(principal, started.reply.id)
