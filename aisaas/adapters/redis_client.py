# pyright: standard
"""Redis connections, bounded: redis-py's own defaults let a call hang for 10 s and more.

Policy for an outage: checks that guard a call raise DependencyError within COMMAND_SECONDS, and the
caller refuses; operations that only carry text or signals are logged and retried.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from aisaas.db.deadline import within
from aisaas.errors import DependencyError
from aisaas.observe.outages import OUTAGES, is_late

COMMAND_SECONDS = 0.25
MAX_CONNECTIONS = 64
# One per signal topic, and one per reply followed from another process.
LISTENING_CONNECTIONS = 64


def make_redis(url: str) -> Redis:
    """A client whose every command answers or fails within COMMAND_SECONDS."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=COMMAND_SECONDS,
        socket_connect_timeout=COMMAND_SECONDS,
        # The deadline that counts is `bounded`'s: it allows for our own delays.
        socket_timeout=2 * COMMAND_SECONDS,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return Redis.from_pool(pool)


def make_listening_redis(url: str, *, block_seconds: float) -> Redis:
    """A client for blocking commands, which wait at most `block_seconds`. If there are more than its
    connections, they take turns."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=LISTENING_CONNECTIONS,
        timeout=block_seconds + 2,
        socket_connect_timeout=COMMAND_SECONDS,
        socket_timeout=block_seconds + 2,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def bounded() -> AsyncGenerator[None]:
    """Redis' errors as ours, and one deadline for connecting and responding together."""
    try:
        async with within(COMMAND_SECONDS):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        OUTAGES.failed("redis", late=is_late(error))
        raise DependencyError("redis") from error
    OUTAGES.answered("redis")


async def reach(redis: Redis) -> None:
    """Returns when Redis answers. Raises DependencyError within COMMAND_SECONDS."""
    async with bounded():
        # A ping over the client is typed for both kinds of clients.
        await redis.execute_command("PING")
