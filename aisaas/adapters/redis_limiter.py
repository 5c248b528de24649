# pyright: standard
"""Requests a minute (exact log) and a day (sliding counter), in one atomic round trip.

All windows count a request or none does, by Redis' own clock, and a request id counts once, so a
retry is safe. Parallel replies are not counted here but as open reservations in Postgres, where
they survive a flush (docs/decisions/0003).
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from redis.asyncio import Redis

from aisaas.adapters.redis_client import bounded
from aisaas.billing.plans.models import RateLimits
from aisaas.chat.ports import RateDecision

# KEYS: minute log, day counter (its name is a prefix; the day's number is appended).
# ARGV: request id, per minute, per day.
# Returns {0} or {1, seconds, now} (minute) or {2, seconds, now} (day); the times are strings, since
# Lua numbers lose their fraction on the way out.
ACQUIRE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local minute, day = KEYS[1], KEYS[2]
local id, per_minute, per_day = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('ZSCORE', minute, id) then return {0} end

redis.call('ZREMRANGEBYSCORE', minute, '-inf', now - 60)
if redis.call('ZCARD', minute) >= per_minute then
  local oldest = redis.call('ZRANGE', minute, 0, 0, 'WITHSCORES')
  local wait = oldest[2] and (tonumber(oldest[2]) + 60 - now) or 60
  return {1, tostring(wait), tostring(now)}
end

local length = 86400
local index = math.floor(now / length)
local into = now - index * length
local counts = redis.call('HMGET', day, index - 1, index)
local before, current = tonumber(counts[1] or '0') or 0, tonumber(counts[2] or '0') or 0
if before * (1 - into / length) + current + 1 > per_day then
  local wait
  local room = per_day - 1 - current
  if room >= 0 and before > 0 then
    wait = (1 - room / before) * length - into
  elseif current > 0 then
    wait = length - into + math.max(0, 1 - (per_day - 1) / current) * length
  else
    wait = length - into
  end
  return {2, tostring(math.max(wait, 1)), tostring(now)}
end

redis.call('ZADD', minute, tostring(now), id)
redis.call('EXPIRE', minute, 61)
redis.call('HINCRBY', day, index, 1)
redis.call('HDEL', day, index - 2)
redis.call('EXPIRE', day, 2 * length)
return {0}
"""

RELEASE = """
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
local index = math.floor(tonumber(score) / 86400)
if tonumber(redis.call('HGET', KEYS[2], index) or '0') > 0 then
  redis.call('HINCRBY', KEYS[2], index, -1)
end
return 1
"""


class RedisLimiter:
    """Implements `chat.ports.RateLimiter`."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        self._prefix = prefix
        self._acquire = redis.register_script(ACQUIRE)
        self._release = redis.register_script(RELEASE)

    async def acquire(self, user_id: UUID, request_id: UUID, limits: RateLimits) -> RateDecision:
        async with bounded():
            answer = await self._acquire(
                keys=self._keys(user_id),
                args=[str(request_id), limits.per_minute, limits.per_day],
            )
        if int(answer[0]) == 0:
            return RateDecision(None)
        seconds = float(answer[1])
        return RateDecision(
            "minute" if int(answer[0]) == 1 else "day",
            seconds,
            # Redis' clock, too: ours may be wrong, and nobody would be let in any sooner for it.
            datetime.fromtimestamp(float(answer[2]) + seconds, tz=UTC),
        )

    async def release(self, user_id: UUID, request_id: UUID) -> None:
        async with bounded():
            await self._release(keys=self._keys(user_id), args=[str(request_id)])

    def _keys(self, user_id: UUID) -> list[str]:
        # The braces keep a user's keys in one slot of a cluster.
        return [
            f"{self._prefix}:rate:{{{user_id}}}:minute",
            f"{self._prefix}:rate:{{{user_id}}}:day",
        ]
