"""Rates on a real Valkey: exact in any minute, all windows or none, and bounded in an outage."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from aisaas.billing.plans.models import RateLimits
from aisaas.chat.rates import RateDecision, Rates
from aisaas.errors import DependencyError
from devstack.stack import Stack
from tests.parts import Outage, answered, outage

ROOMY = 1_000_000
DAY = 86_400
# A call that isn't over by then hangs; what is asserted is that it ends, not how fast it is.
HANGS_SECONDS = 30


class Windows:
    """A user's windows as Redis holds them."""

    def __init__(self, redis: Redis, prefix: str, user_id: UUID) -> None:
        self._redis = redis
        self.minute = f"{prefix}:rate:{{{user_id}}}:minute"
        self.day = f"{prefix}:rate:{{{user_id}}}:day"

    async def now(self) -> float:
        seconds, micros = await self._redis.time()  # pyright: ignore[reportGeneralTypeIssues]
        return seconds + micros / 1_000_000

    async def later(self, seconds: float) -> None:
        """Let time pass for the minute: everything in it happened earlier."""
        for member in await self._redis.zrange(self.minute, 0, -1):
            await self._redis.zincrby(self.minute, -seconds, member)

    async def counted(self) -> tuple[int, int]:
        """Requests in the minute's log and in today's counter."""
        today = str(int(await self.now() // DAY))
        in_day = await self._redis.hget(self.day, today)  # pyright: ignore[reportGeneralTypeIssues]
        return await self._redis.zcard(self.minute), int(in_day or 0)

    async def set_days(self, yesterday: int, today: int) -> None:
        number = int(await self.now() // DAY)
        await self._redis.hset(  # pyright: ignore[reportGeneralTypeIssues]
            self.day, mapping={str(number - 1): yesterday, str(number): today}
        )


@pytest.fixture
def user_id() -> UUID:
    return uuid4()


@pytest.fixture
def windows(probe: Redis, prefix: str, user_id: UUID) -> Windows:
    return Windows(probe, prefix, user_id)


async def _times(rates: Rates, user_id: UUID, limits: RateLimits, calls: int) -> Counter:
    decisions = [await rates.acquire(user_id, uuid4(), limits) for _ in range(calls)]
    return Counter(decision.limited_by for decision in decisions)


# The minute


@pytest.mark.parametrize("attack", ["steady", "bursts", "at the edge"])
async def test_never_more_than_the_limit_in_any_sixty_seconds(
    attack: str, rates: Rates, windows: Windows, probe: Redis, user_id: UUID
) -> None:
    dice = random.Random(attack)
    limits = RateLimits(10, ROOMY)
    passed = 0.0
    admitted: list[float] = []
    for _ in range(300):
        request_id = uuid4()
        if (await rates.acquire(user_id, request_id, limits)).limited_by is None:
            score = await probe.zscore(windows.minute, str(request_id))
            assert score is not None
            admitted.append(float(score) + passed)
        pause = {
            "steady": 2.0,
            "bursts": dice.choice([0.0, 0.0, 0.0, 0.01, 7.0, 31.0]),
            "at the edge": dice.choice([0.0] * 12 + [59.5, 0.6, 60.0]),
        }[attack]
        await windows.later(pause)
        passed += pause
    assert len(admitted) > 30
    most = max(sum(1 for other in admitted if at - 60 < other <= at) for at in admitted)
    assert most == 10


async def test_100_calls_at_once_are_admitted_exactly_as_often_as_allowed(
    rates: Rates, windows: Windows, user_id: UUID
) -> None:
    limits = RateLimits(10, ROOMY)
    decisions = await asyncio.gather(*(rates.acquire(user_id, uuid4(), limits) for _ in range(100)))
    assert Counter(each.limited_by for each in decisions) == {None: 10, "minute": 90}
    assert await windows.counted() == (10, 10)


async def test_refusal_tells_when_there_is_room_again(
    rates: Rates, windows: Windows, user_id: UUID
) -> None:
    limits = RateLimits(3, ROOMY)
    assert await _times(rates, user_id, limits, 3) == {None: 3}
    refused = await rates.acquire(user_id, uuid4(), limits)
    assert refused.limited_by == "minute"
    assert 0 < refused.retry_after <= 60
    assert refused.retry_at is not None
    until = (refused.retry_at - datetime.now(UTC)).total_seconds()
    assert until == pytest.approx(refused.retry_after, abs=5)
    await windows.later(refused.retry_after)
    assert (await rates.acquire(user_id, uuid4(), limits)).limited_by is None


async def test_users_do_not_share_a_limit(rates: Rates, user_id: UUID) -> None:
    limits = RateLimits(1, 1)
    assert await _times(rates, user_id, limits, 2) == {None: 1, "minute": 1}
    assert await _times(rates, uuid4(), limits, 1) == {None: 1}


# The day


async def test_yesterday_counts_for_as_much_of_it_as_lies_within_24_hours(
    rates: Rates, windows: Windows, user_id: UUID
) -> None:
    limits = RateLimits(ROOMY, 100)
    await windows.set_days(yesterday=80, today=0)

    def room(now: float) -> int:
        return math.floor(100 - 80 * (1 - now % DAY / DAY))

    before = room(await windows.now())
    answers = await _times(rates, user_id, limits, 120)
    assert before <= answers[None] <= room(await windows.now())
    assert answers["day"] == 120 - answers[None]


@pytest.mark.parametrize(("yesterday", "today"), [(100, 0), (100, 60), (0, 100), (40, 100), (0, 0)])
async def test_day_is_full_until_the_time_that_its_refusal_tells(
    rates: Rates, windows: Windows, user_id: UUID, yesterday: int, today: int
) -> None:
    limits = RateLimits(ROOMY, 100)
    await windows.set_days(yesterday, today)
    await _times(rates, user_id, limits, 100)
    refused = await rates.acquire(user_id, uuid4(), limits)
    assert refused.limited_by == "day"
    _, current = await windows.counted()

    def weighed(at: float, now: float) -> float:
        """What the window holds at a later time, if nothing is added."""
        days = int(at // DAY) - int(now // DAY)
        share = 1 - at % DAY / DAY
        return {0: yesterday * share + current, 1: current * share}[days]

    now = await windows.now()
    assert weighed(now, now) + 1 > 100
    assert weighed(now + refused.retry_after + 1, now) + 1 <= 100.01


# All windows or none


async def test_refused_by_the_minute_consumes_nothing_of_the_day(
    rates: Rates, windows: Windows, user_id: UUID
) -> None:
    answers = await _times(rates, user_id, RateLimits(2, 50), 30)
    assert answers == {None: 2, "minute": 28}
    assert await windows.counted() == (2, 2)


async def test_refused_by_the_day_consumes_nothing_of_the_minute(
    rates: Rates, windows: Windows, user_id: UUID
) -> None:
    answers = await _times(rates, user_id, RateLimits(50, 2), 30)
    assert answers == {None: 2, "day": 28}
    assert await windows.counted() == (2, 2)


@pytest.mark.parametrize(
    ("limits", "by"), [(RateLimits(0, 5), "minute"), (RateLimits(5, 0), "day")]
)
async def test_limit_of_nothing_admits_nothing(
    rates: Rates, windows: Windows, user_id: UUID, limits: RateLimits, by: str
) -> None:
    refused = await rates.acquire(user_id, uuid4(), limits)
    assert refused.limited_by == by
    assert refused.retry_after > 0
    assert await windows.counted() == (0, 0)


# A request counts once


async def test_same_request_counts_once_however_often_it_is_asked(
    rates: Rates, windows: Windows, user_id: UUID
) -> None:
    limits, request_id = RateLimits(1, 1), uuid4()
    answers = await asyncio.gather(*(rates.acquire(user_id, request_id, limits) for _ in range(20)))
    assert set(answers) == {RateDecision(None)}
    assert await windows.counted() == (1, 1)


async def test_release_gives_back_exactly_once(
    rates: Rates, windows: Windows, user_id: UUID
) -> None:
    limits, first, second = RateLimits(2, 2), uuid4(), uuid4()
    for request_id in (first, second):
        await rates.acquire(user_id, request_id, limits)
    await asyncio.gather(*(rates.release(user_id, first) for _ in range(10)))
    assert await windows.counted() == (1, 1)
    assert await _times(rates, user_id, limits, 3) == {None: 1, "minute": 2}


async def test_release_of_a_refused_or_foreign_request_gives_nothing(
    rates: Rates, windows: Windows, user_id: UUID
) -> None:
    limits, admitted, refused = RateLimits(1, 5), uuid4(), uuid4()
    await rates.acquire(user_id, admitted, limits)
    await rates.acquire(user_id, refused, limits)
    await rates.release(user_id, refused)
    await rates.release(uuid4(), admitted)
    assert await windows.counted() == (1, 1)


async def test_nothing_is_kept_longer_than_it_counts(
    rates: Rates, windows: Windows, probe: Redis, user_id: UUID
) -> None:
    await rates.acquire(user_id, uuid4(), RateLimits(5, 5))
    assert 0 < await probe.ttl(windows.minute) <= 61
    assert DAY < await probe.ttl(windows.day) <= 2 * DAY


# Outages


@pytest.mark.usefixtures("real_deadlines")
@pytest.mark.parametrize("kind", ["stopped", "paused"])
async def test_outage_is_reported_at_once_and_forgotten_when_it_is_over(
    kind: Outage, rates: Rates, windows: Windows, spare_stack: Stack, user_id: UUID
) -> None:
    limits = RateLimits(10, 100)

    async def acquire() -> RateDecision:
        request_id = uuid4()
        return await answered(lambda: rates.acquire(user_id, request_id, limits))

    assert [await acquire() for _ in range(2)] == [RateDecision(None)] * 2
    with outage(spare_stack, "valkey", kind):
        async with asyncio.timeout(HANGS_SECONDS):
            answers = await asyncio.gather(
                *(rates.acquire(user_id, uuid4(), limits) for _ in range(100)),
                *(rates.release(user_id, uuid4()) for _ in range(10)),
                return_exceptions=True,
            )
        assert {type(answer) for answer in answers} == {DependencyError}
    # Calls that Redis had already read when it froze may have been counted, never too few.
    in_minute, in_day = await windows.counted()
    assert 2 <= in_minute == in_day <= 10
    answers = await asyncio.gather(*(acquire() for _ in range(20)))
    assert Counter(each.limited_by for each in answers)[None] == 10 - in_minute


async def test_flushed_redis_starts_from_nothing_and_still_holds_the_limit(
    rates: Rates, probe: Redis, windows: Windows, user_id: UUID
) -> None:
    limits = RateLimits(2, 100)
    await _times(rates, user_id, limits, 2)
    # A restarted server has forgotten the scripts as well.
    await probe.script_flush()
    await probe.delete(windows.minute, windows.day)
    assert await _times(rates, user_id, limits, 5) == {None: 2, "minute": 3}
