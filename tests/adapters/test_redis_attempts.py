"""The contract of `accounts.ports.Limiter` for exact windows, on a real server."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from aisaas.accounts.ports import Window
from aisaas.adapters.redis_limiter import RedisLimiter
from aisaas.errors import DependencyError
from devstack.stack import Stack
from tests.parts import outage


def _window(limit: int, seconds: int = 900) -> Window:
    return Window(f"tests:{uuid4()}", limit, seconds)


async def _tries(limiter: RedisLimiter, count: int, *windows: Window) -> list[float | None]:
    answers = [await limiter.acquire(uuid4(), windows) for _ in range(count)]
    return [answer and answer.seconds for answer in answers]


async def _age(probe: Redis, prefix: str, window: Window, seconds: float) -> None:
    key = f"{prefix}:{{attempts}}:{window.key}"
    for member, score in await probe.zrange(key, 0, -1, withscores=True):  # pyright: ignore[reportGeneralTypeIssues]
        await probe.zadd(key, {member: score - seconds})


async def test_as_many_attempts_as_the_limit_and_then_a_time_to_wait(
    limiter: RedisLimiter,
) -> None:
    *counted, refused = await _tries(limiter, 4, _window(3, 60))
    assert counted == [None] * 3
    assert refused is not None
    assert 55 < refused <= 60


async def test_window_slides(limiter: RedisLimiter, probe: Redis, prefix: str) -> None:
    window = _window(2, 60)
    await _tries(limiter, 1, window)
    await _age(probe, prefix, window, 40)
    await _tries(limiter, 1, window)
    (refused,) = await _tries(limiter, 1, window)
    assert refused is not None
    assert 15 < refused <= 20
    await _age(probe, prefix, window, 21)
    # The first has left; the second is still in.
    first, second = await _tries(limiter, 2, window)
    assert first is None
    assert second is not None


async def test_attempt_counts_in_all_windows_or_in_none(limiter: RedisLimiter) -> None:
    narrow, wide = _window(1), _window(3)
    assert await _tries(limiter, 1, narrow, wide) == [None]
    refused = await _tries(limiter, 5, narrow, wide)
    assert None not in refused
    # The refused ones left no trace in the wide window.
    assert (await _tries(limiter, 3, wide))[:2] == [None, None]


async def test_the_longest_wait_is_reported(limiter: RedisLimiter) -> None:
    short, long = _window(1, 60), _window(1, 900)
    _, refused = await _tries(limiter, 2, short, long)
    assert refused is not None
    assert refused > 800


async def test_attempt_that_is_given_back_makes_room(limiter: RedisLimiter) -> None:
    window, mine = _window(2), uuid4()
    await _tries(limiter, 1, window)
    assert await limiter.acquire(mine, [window]) is None
    await limiter.release(mine, [window])
    await limiter.release(mine, [window])
    first, second = await _tries(limiter, 2, window)
    assert first is None
    assert second is not None


async def test_attempts_at_once_never_pass_the_limit(limiter: RedisLimiter) -> None:
    window = _window(5)
    answers = await asyncio.gather(*(limiter.acquire(uuid4(), [window]) for _ in range(40)))
    assert answers.count(None) == 5


async def test_nothing_is_kept_longer_than_its_window(
    limiter: RedisLimiter, probe: Redis, prefix: str
) -> None:
    await _tries(limiter, 1, _window(5, 60))
    (key,) = [key async for key in probe.scan_iter(f"{prefix}:*")]
    assert 0 < await probe.ttl(key) <= 61


async def test_without_windows_nothing_is_asked(limiter: RedisLimiter, spare_stack: Stack) -> None:
    with outage(spare_stack, "valkey", "stopped"):
        assert await limiter.acquire(uuid4(), []) is None
        await limiter.release(uuid4(), [])


@pytest.mark.usefixtures("real_deadlines")
async def test_redis_that_is_away_is_an_outage(limiter: RedisLimiter, spare_stack: Stack) -> None:
    with outage(spare_stack, "valkey", "stopped"):
        with pytest.raises(DependencyError):
            await limiter.acquire(uuid4(), [_window(1)])
        with pytest.raises(DependencyError):
            await limiter.release(uuid4(), [_window(1)])
