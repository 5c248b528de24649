"""How long after Stop the provider's call is aborted, seen from the provider's side."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import httpx

from aisaas.db.migrate import upgrade
from aisaas.jobs.lifespan import running
from aisaas.settings import load
from aisaas.wiring import Services, build
from devstack.stack import PARTS, Stack

REPLY = "long 2000 speed 100"
POLL_SECONDS = 0.001
LIMIT_SECONDS = 5.0


def measure(rounds: int) -> dict[str, float]:
    """Milliseconds from asking to stop until the demo model's server saw its client hang up."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        upgrade(stack.env["MIGRATION_DATABASE_URL"])
        return asyncio.run(_measure(stack, rounds))


async def _measure(stack: Stack, rounds: int) -> dict[str, float]:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    values |= {
        "embedded_parts": ",".join(PARTS),
        "free_tokens_per_month": 10_000_000,
        "free_requests_per_minute": 100_000,
        "free_requests_per_day": 100_000,
        "free_tier_daily_usd": 1000,
        "total_daily_usd": 1000,
    }
    services = build(load(**values))
    async with running(services), httpx.AsyncClient() as client:
        await services.model.warm()
        health = stack.env["DEMO_API_BASE"].removesuffix("/v1") + "/health"
        found = sorted([await _stop_one(services, client, health) for _ in range(rounds)])
    return {
        "rounds": rounds,
        "p50_ms": round(statistics.median(found), 1),
        "max_ms": round(found[-1], 1),
    }


async def _stop_one(services: Services, client: httpx.AsyncClient, health: str) -> float:
    signed_in = await services.accounts.sign_up(
        f"{uuid4().hex}@example.com", "a password for a measurement", "", user_agent="bench"
    )
    assert signed_in is not None
    who = await services.callers.resolve(f"{services.cookie}={signed_in.token}")
    before = await _aborted(client, health)
    started = await services.chat.send(who, REPLY, conversation_id=None, model="demo")
    async for segment in services.chat.follow(who, started.reply.id):
        if segment.text:
            break
    asked = time.perf_counter()
    await services.chat.stop(who, started.reply.id)
    async with asyncio.timeout(LIMIT_SECONDS):
        # Another process's counter can only be polled.
        while await _aborted(client, health) == before:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
    elapsed = (time.perf_counter() - asked) * 1000
    # Its title is made now; the next round must not be measured beside it.
    await services.chat.title_ready(who, started.conversation_id)
    return elapsed


async def _aborted(client: httpx.AsyncClient, health: str) -> int:
    return int((await client.get(health)).json()["replies"]["aborted"])
