"""The adapters on the real servers. Those that go through outages have a server to themselves."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncGenerator, Generator
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aisaas.adapters import event_stream
from aisaas.adapters.redis_client import make_listening_redis, make_redis
from aisaas.adapters.redis_limiter import RedisLimiter
from aisaas.adapters.redis_reply_log import RedisReplyLog
from aisaas.adapters.supabase_identity import SupabaseIdentity
from aisaas.chat.rates import Rates
from devstack.stack import Stack
from tests.parts import AuthAdmin, Mailbox, production_limits


@pytest_asyncio.fixture(autouse=True, scope="module", loop_scope="session")
async def closed_clients() -> AsyncGenerator[None]:
    """LiteLLM keeps a client for each address, and lets go of the oldest without closing it."""
    yield
    litellm = sys.modules.get("litellm")
    if litellm is not None:
        cleanup = importlib.import_module("litellm.llms.custom_httpx.async_client_cleanup")
        await cleanup.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture
def real_deadlines() -> Generator[None]:
    """For tests of an outage that is made by other means than `outage`."""
    with production_limits():
        yield


@pytest.fixture(params=["direct", "wrapper"])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs twice: answers are read from the wire, and through LiteLLM's wrapper."""
    if request.param == "wrapper":
        monkeypatch.setattr(
            event_stream, "VENDORS", dict.fromkeys(event_stream.VENDORS, frozenset())
        )
    return request.param


@pytest_asyncio.fixture(loop_scope="session")
async def redis(spare_stack: Stack) -> AsyncGenerator[Redis]:
    client = make_redis(spare_stack.env["REDIS_URL"])
    yield client
    await client.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def probe(spare_stack: Stack) -> AsyncGenerator[Redis]:
    """A patient client, to look with."""
    client = Redis.from_url(spare_stack.env["REDIS_URL"])
    yield client
    await client.aclose()


@pytest.fixture
def prefix() -> str:
    return f"tests:{uuid4()}"


@pytest.fixture
def limiter(redis: Redis, prefix: str) -> RedisLimiter:
    return RedisLimiter(redis, prefix=prefix)


@pytest.fixture
def rates(limiter: RedisLimiter) -> Rates:
    return Rates(limiter)


@pytest_asyncio.fixture(loop_scope="session")
async def reply_log(redis: Redis, prefix: str, spare_stack: Stack) -> AsyncGenerator[RedisReplyLog]:
    listening = make_listening_redis(spare_stack.env["REDIS_URL"], block_seconds=5)
    yield RedisReplyLog(redis, listening, prefix=prefix)
    await listening.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def identity(spare_stack: Stack) -> AsyncGenerator[SupabaseIdentity]:
    env = spare_stack.env
    adapter = SupabaseIdentity(
        env["SUPABASE_URL"], env["SUPABASE_PUBLISHABLE_KEY"], env["SUPABASE_SECRET_KEY"]
    )
    yield adapter
    await adapter.close()


@pytest.fixture
def auth_admin(spare_stack: Stack) -> Generator[AuthAdmin]:
    admin = AuthAdmin(spare_stack)
    yield admin
    admin.close()


@pytest_asyncio.fixture(loop_scope="session")
async def confirming(confirming_stack: Stack) -> AsyncGenerator[SupabaseIdentity]:
    """The adapter to a server that wants addresses confirmed by mail."""
    env = confirming_stack.env
    adapter = SupabaseIdentity(env["SUPABASE_URL"], env["SUPABASE_PUBLISHABLE_KEY"])
    yield adapter
    await adapter.close()


@pytest.fixture
def mailbox(spare_stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(spare_stack)
    yield box
    box.close()


@pytest.fixture
def confirming_mailbox(confirming_stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(confirming_stack)
    yield box
    box.close()
