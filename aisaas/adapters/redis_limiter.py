# pyright: standard
"""Sliding windows of any kind, all of them in one atomic round trip.

An attempt counts in every window or in none, by Redis' own clock, and an id counts once, so a retry is
safe. A refused attempt isn't counted, so retrying too early costs no time.

An exact window is a log: it knows each attempt, and holds at most its limit of entries. Any other
window is a counter per period: the previous period's count is weighted by the share of it that still
lies within the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from redis.asyncio import Redis

from aisaas.accounts.ports import Full, Window
from aisaas.adapters.redis_client import bounded

# KEYS: a log or a counter for each window. ARGV: the attempt's id, then limit, seconds, and 1 (a log) or
# 0 (a counter) for each.
# Returns {}, or each window's wait (0 if it has room) and the time; as strings, since Lua numbers lose
# their fraction when returned.
ACQUIRE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local id, windows = ARGV[1], {}
for index, key in ipairs(KEYS) do
  windows[index] = {
    key = key, limit = tonumber(ARGV[3 * index - 1]), seconds = tonumber(ARGV[3 * index]),
    exact = ARGV[3 * index + 1] == '1'
  }
  if windows[index].exact and redis.call('ZSCORE', key, id) then return {} end
end

local function wait_of_log(window)
  redis.call('ZREMRANGEBYSCORE', window.key, '-inf', now - window.seconds)
  local excess = redis.call('ZCARD', window.key) - window.limit
  if excess < 0 then return 0 end
  -- There is room when the entry that makes one too many has left.
  local entry = redis.call('ZRANGE', window.key, excess, excess, 'WITHSCORES')
  local wait = entry[2] and (tonumber(entry[2]) + window.seconds - now) or window.seconds
  return math.max(wait, 0.001)
end

local function wait_of_counter(window)
  local length, most = window.seconds, window.limit
  local period = math.floor(now / length)
  local into = now - period * length
  local counts = redis.call('HMGET', window.key, period - 1, period)
  local before, current = tonumber(counts[1] or '0') or 0, tonumber(counts[2] or '0') or 0
  if before * (1 - into / length) + current + 1 <= most then return 0 end
  local room, wait = most - 1 - current, length - into
  if room >= 0 and before > 0 then
    wait = (1 - room / before) * length - into
  elseif current > 0 then
    wait = length - into + math.max(0, 1 - (most - 1) / current) * length
  end
  return math.max(wait, 1)
end

local waits, full = {}, false
for index, window in ipairs(windows) do
  local wait = window.exact and wait_of_log(window) or wait_of_counter(window)
  full = full or wait > 0
  waits[index] = tostring(wait)
end
if full then
  table.insert(waits, tostring(now))
  return waits
end

for _, window in ipairs(windows) do
  if window.exact then
    redis.call('ZADD', window.key, tostring(now), id)
    redis.call('EXPIRE', window.key, window.seconds + 1)
  else
    local period = math.floor(now / window.seconds)
    redis.call('HINCRBY', window.key, period, 1)
    redis.call('HDEL', window.key, period - 2)
    redis.call('EXPIRE', window.key, 2 * window.seconds)
  end
end
return {}
"""

# The same KEYS; ARGV: the id, then seconds and kind for each. A counter releases what a log beside it
# still has, in the period it was counted in.
RELEASE = """
local at
for index, key in ipairs(KEYS) do
  if ARGV[2 * index + 1] == '1' then
    at = redis.call('ZSCORE', key, ARGV[1]) or at
    redis.call('ZREM', key, ARGV[1])
  end
end
if not at then return 0 end
for index, key in ipairs(KEYS) do
  if ARGV[2 * index + 1] == '0' then
    local period = math.floor(tonumber(at) / tonumber(ARGV[2 * index]))
    if tonumber(redis.call('HGET', key, period) or '0') > 0 then
      redis.call('HINCRBY', key, period, -1)
    end
  end
end
return 1
"""


class RedisLimiter:
    """Implements `accounts.ports.Limiter`."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        self._prefix = prefix
        self._acquire = redis.register_script(ACQUIRE)
        self._release = redis.register_script(RELEASE)

    async def acquire(self, attempt_id: UUID, windows: Sequence[Window]) -> Full | None:
        if not windows:
            return None
        numbers = [
            number
            for window in windows
            for number in (window.limit, window.seconds, int(window.exact))
        ]
        async with bounded():
            answer = await self._acquire(keys=self._keys(windows), args=[str(attempt_id), *numbers])
        if not answer:
            return None
        *waits, now = map(float, answer)
        return Full(tuple(waits), datetime.fromtimestamp(now, tz=UTC))

    async def release(self, attempt_id: UUID, windows: Sequence[Window]) -> None:
        if not windows:
            return
        numbers = [number for window in windows for number in (window.seconds, int(window.exact))]
        async with bounded():
            await self._release(keys=self._keys(windows), args=[str(attempt_id), *numbers])

    def _keys(self, windows: Sequence[Window]) -> list[str]:
        return [f"{self._prefix}:{window.group}:{window.key}" for window in windows]
