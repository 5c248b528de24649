# pyright: standard
"""Signals over Redis publish/subscribe: lossy by design, so nothing essential depends on one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.exceptions import RedisError

from aisaas.adapters.redis_client import bounded

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5
POLL_SECONDS = 5.0


class RedisSignals:
    """Implements `signals.Signals`."""

    def __init__(self, redis: Redis, listening: Redis, *, prefix: str) -> None:
        self._redis = redis
        self._listening = listening
        self._prefix = prefix

    async def send(self, topic: str, subject: str) -> None:
        async with bounded():
            await self._redis.publish(f"{self._prefix}:signal:{topic}", subject)

    async def receive(self, topic: str) -> AsyncIterator[str]:
        """Subjects as they arrive; survives a Redis outage, but misses what was sent during it."""
        while True:
            try:
                async with self._listening.pubsub() as pubsub:
                    await pubsub.subscribe(f"{self._prefix}:signal:{topic}")
                    while True:
                        message = await pubsub.get_message(
                            ignore_subscribe_messages=True, timeout=POLL_SECONDS
                        )
                        if message is not None:
                            yield message["data"].decode(errors="replace")
            except (RedisError, OSError, TimeoutError) as error:
                # Commands report the outage; this only waits for its end.
                log.debug("signals interrupted: %s", type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)
