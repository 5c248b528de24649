"""A machine that is busy with something else isn't taken for a part that is away."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from aisaas.adapters import redis_client
from aisaas.adapters.redis_client import bounded, make_redis
from aisaas.db import engine
from aisaas.db.deadline import within
from aisaas.db.engine import DatabasePool
from aisaas.errors import DependencyError
from devstack.stack import Stack
from tests.parts import outage


def stand_still(seconds: float) -> None:
    """As when others have the processor."""
    time.sleep(seconds)


async def test_an_answer_that_came_while_we_stood_still_is_taken(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "COMMAND_SECONDS", 1.0)
    redis: Any = make_redis(stack.env["REDIS_URL"])
    try:
        async with bounded():
            await redis.echo("first")
        async with bounded():
            answer = asyncio.ensure_future(redis.echo("there"))
            await asyncio.sleep(0)
            stand_still(1.5 * redis_client.COMMAND_SECONDS)
            assert await answer == b"there"
    finally:
        await redis.aclose()


async def test_a_database_that_answered_while_we_stood_still_is_there(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ASK_SECONDS", 0.5)
    login = DatabasePool(stack.env["DATABASE_URL"])
    try:
        await login.reach("anon")
        asked = asyncio.create_task(login.reach("anon"))
        await asyncio.sleep(0.01)
        stand_still(0.9)
        await asked
    finally:
        await login.close()


async def test_more_callers_than_connections_wait_for_their_turn(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is answered soon after it was asked; together they take longer than one may."""
    monkeypatch.setattr(engine, "ASK_SECONDS", 2.0)
    login = DatabasePool(stack.env["DATABASE_URL"])
    half = engine.ASK_SECONDS / 2
    slow: engine.PipelinedQuery[None] = engine.PipelinedQuery(
        (("select pg_sleep(%(seconds)s)", {"seconds": half}),), lambda _: None
    )
    try:
        await asyncio.gather(*(login.ask("anon", slow) for _ in range(4 * engine.ASKING_POOL_SIZE)))
    finally:
        await login.close()


async def test_what_does_not_answer_is_given_up_all_the_same(
    stack: Stack, spare_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ASK_SECONDS", 0.5)
    login = DatabasePool(spare_stack.env["DATABASE_URL"])
    try:
        await login.reach("anon")
        with outage(spare_stack, "postgres", "paused"):
            async with asyncio.timeout(30):
                with pytest.raises(DependencyError):
                    await login.reach("anon")
    finally:
        await login.close()
    with pytest.raises(TimeoutError):
        await never(stands_still=0.0)
    # Also where we stood still: what was lost is given once, not for ever.
    with pytest.raises(TimeoutError):
        await never(stands_still=0.2)


async def never(*, stands_still: float) -> None:
    async with within(0.05):
        stand_still(stands_still)
        await asyncio.sleep(60)
