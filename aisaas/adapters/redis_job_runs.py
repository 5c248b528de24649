# pyright: standard
"""When jobs last succeeded, in one hash for all processes.

No decision depends on it. Flushing Redis clears it, and the next run of each job fills it again.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis

from aisaas.adapters.redis_client import bounded


class RedisJobRuns:
    """Implements `observe.jobs.JobTimes`."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        self._redis = redis
        self._key = f"{prefix}:jobs"

    async def note(self, begun: Mapping[str, float], succeeded: Mapping[str, float]) -> None:
        async with bounded(), self._redis.pipeline(transaction=False) as pipeline:
            for job, at in begun.items():
                pipeline.hsetnx(self._key, job, str(at))
            for job, at in succeeded.items():
                pipeline.hset(self._key, job, str(at))
            await pipeline.execute()

    async def read(self) -> Mapping[str, float]:
        async with bounded():
            # The client's own method is typed for both kinds of clients.
            found: dict[bytes, bytes] = await self._redis.execute_command("HGETALL", self._key)  # pyright: ignore[reportAssignmentType]
        return {job.decode(): float(at) for job, at in found.items()}
