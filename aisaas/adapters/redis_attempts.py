# pyright: standard
"""Attempts in sliding windows: exact logs, all of them in one atomic round trip.

An attempt counts in every window or in none, by Redis' own clock. What is refused leaves nothing,
so asking again too early costs no time. A log holds at most its window's limit of entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from redis.asyncio import Redis

from aisaas.accounts.ports import Window
from aisaas.adapters.redis_client import bounded

# KEYS: a log for each window. ARGV: attempt id, then limit and seconds for each window.
# Returns '' or the seconds until all windows have room; a string, since Lua numbers lose their
# fraction on the way out.
ATTEMPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local wait = 0
for index, key in ipairs(KEYS) do
  local limit, seconds = tonumber(ARGV[2 * index]), tonumber(ARGV[2 * index + 1])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - seconds)
  local excess = redis.call('ZCARD', key) - limit
  if excess >= 0 then
    -- There is room when the entry that makes one too many has left.
    local entry = redis.call('ZRANGE', key, excess, excess, 'WITHSCORES')
    wait = math.max(wait, entry[2] and (tonumber(entry[2]) + seconds - now) or seconds)
  end
end
if wait > 0 then return tostring(wait) end
for index, key in ipairs(KEYS) do
  redis.call('ZADD', key, tostring(now), ARGV[1])
  redis.call('EXPIRE', key, tonumber(ARGV[2 * index + 1]) + 1)
end
return ''
"""

GIVE_BACK = """
for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end
return 0
"""


class RedisAttempts:
    """Implements `accounts.ports.AttemptLimiter`."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        self._prefix = prefix
        self._attempt = redis.register_script(ATTEMPT)
        self._give_back = redis.register_script(GIVE_BACK)

    async def attempt(self, attempt_id: UUID, windows: Sequence[Window]) -> float | None:
        if not windows:
            return None
        numbers = [number for window in windows for number in (window.limit, window.seconds)]
        async with bounded():
            answer = await self._attempt(keys=self._keys(windows), args=[str(attempt_id), *numbers])
        return float(answer) if answer else None

    async def release(self, attempt_id: UUID, windows: Sequence[Window]) -> None:
        if not windows:
            return
        async with bounded():
            await self._give_back(keys=self._keys(windows), args=[str(attempt_id)])

    def _keys(self, windows: Sequence[Window]) -> list[str]:
        # The braces keep all of them in one slot of a cluster.
        return [f"{self._prefix}:{{attempts}}:{window.key}" for window in windows]
