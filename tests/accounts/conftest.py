"""Accounts on an install of their own, where they are the first and nobody minds an outage."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import pytest_asyncio

from aisaas import wiring
from aisaas.accounts import identity
from aisaas.accounts.models import Principal
from aisaas.api.app import api_routes
from aisaas.api.serving import serving
from aisaas.settings import load, settings
from aisaas.wiring import Services, build
from devstack.stack import Stack
from tests.parts import AuthAdmin

Install = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

PASSWORD = "a long enough password"
Sql = Callable[..., list[tuple[object, ...]]]


@dataclass(frozen=True)
class Member:
    """Someone who signed up, and what their browser holds."""

    user_id: UUID
    email: str
    token: str
    cookie: str


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, patience: None) -> None:
    """What is answered after a fixed time is answered soon; a busy machine is no outage."""
    monkeypatch.setattr(identity, "FLOOR_SECONDS", 0.1)


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


def build_services(stack: Stack, **overrides: object) -> Services:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    # Some provider has to be named; nothing here calls it.
    values |= {
        "embedded_parts": "postgres,valkey,auth",
        "ollama_api_base": "http://127.0.0.1:9",
    }
    return build(load(**(values | overrides)))


@pytest.fixture
def install(spare_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Install:
    """The routes of a process whose environment is this; a browser at its address."""

    @asynccontextmanager
    async def make(**variables: str) -> AsyncGenerator[httpx.AsyncClient]:
        named = {
            "EMBEDDED_PARTS": "postgres,valkey,auth",
            "OLLAMA_API_BASE": "http://127.0.0.1:9",
            # All tests come from one address.
            "SIGN_UPS_PER_ADDRESS": "100000",
            "SIGN_IN_TRIES_PER_ADDRESS": "100000",
            "MAILS_PER_ADDRESS": "100000",
        }
        for name, value in (spare_stack.env | named | variables).items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        wiring.services.cache_clear()
        transport = httpx.ASGITransport(serving(api_routes(), wiring.services))
        try:
            async with httpx.AsyncClient(transport=transport, base_url=settings().url) as client:
                yield client
        finally:
            await wiring.services().close()
            settings.cache_clear()
            wiring.services.cache_clear()

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def browser(install: Install) -> AsyncGenerator[httpx.AsyncClient]:
    async with install() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def services(spare_stack: Stack) -> AsyncGenerator[Services]:
    made = build_services(spare_stack)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def other_process(spare_stack: Stack) -> AsyncGenerator[Services]:
    """The same install's services, as another process has them."""
    made = build_services(spare_stack)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def ada(services: Services) -> Member:
    return await sign_up(services)


async def sign_up(services: Services) -> Member:
    email = new_email()
    signed_in = await services.accounts.sign_up(email, PASSWORD, "Ada", user_agent="tests")
    assert signed_in is not None
    cookie = f"{services.cookie}={signed_in.token}"
    return Member(signed_in.user_id, email, signed_in.token, cookie)


async def ask(services: Services, member: Member) -> Principal:
    return await services.accounts.principal(member.cookie)


@pytest.fixture
def sql(spare_stack: Stack) -> Sql:
    """Runs a statement as the schema's owner."""

    def run(statement: str, *args: object) -> list[tuple[object, ...]]:
        url = spare_stack.env["MIGRATION_DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement, args)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def age(sql: Sql) -> Callable[..., None]:
    """Make a user's sessions look as if that many seconds had passed."""

    def run(user_id: UUID, *, verified: int = 0, expires_in: int = 3600) -> None:
        sql(
            "update private.sessions set verified_at = now() - make_interval(secs => %s),"
            " access_expires_at = now() + make_interval(secs => %s) where user_id = %s",
            verified,
            expires_in,
            user_id,
        )

    return run


@pytest.fixture
def auth_admin(spare_stack: Stack) -> Generator[AuthAdmin]:
    admin = AuthAdmin(spare_stack)
    yield admin
    admin.close()


@pytest.fixture
def asked(spare_stack: Stack) -> Callable[[str], int]:
    """How often the auth server was asked for a path, by its own log."""

    def count(path: str) -> int:
        log = spare_stack.folder.log("auth").read_text(encoding="utf-8")
        return sum(1 for line in log.splitlines() if f'"{path}"' in line)

    return count
