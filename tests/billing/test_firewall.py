"""The whole way of a message, from many tabs at once, with Redis losing everything meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from aisaas.callers import Caller
from aisaas.errors import Refusal
from aisaas.jobs.lifespan import running
from aisaas.settings import load
from aisaas.wiring import Services, build
from devstack.stack import Stack
from tests.billing.conftest import Billing
from tests.services import NO_SENDERS

# "long 40" makes the demo model answer with 40 tokens.
QUESTION = "long 40"
ANSWER_TOKENS = 100


def _services(stack: Stack, **overrides: object) -> Services:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    values |= {
        "embedded_parts": "postgres,valkey,auth,demo_model",
        "max_reply_tokens": ANSWER_TOKENS,
        "free_requests_per_minute": 10_000,
        "free_requests_per_day": 10_000,
        "free_parallel_replies": 1000,
        "free_tier_daily_usd": 1000,
        "total_daily_usd": 1000,
        "default_model": "demo",
        "shutdown_grace_seconds": 60,
        **NO_SENDERS,
    }
    return build(load(**(values | overrides)))


async def _account(services: Services) -> Caller:
    signed_in = await services.accounts.sign_up(
        f"{uuid4().hex}@example.com", "a long enough password", "Ada", user_agent="tests"
    )
    assert signed_in is not None
    return await services.callers.resolve(f"{services.cookie}={signed_in.token}")


async def _send(services: Services, principal: Caller) -> str:
    try:
        await services.chat.send(principal, QUESTION, conversation_id=None, model="demo")
    except Refusal as refusal:
        return refusal.code
    return "sent"


def _worst_case(billing: Billing, user_id: UUID) -> int:
    ((tokens,),) = billing.sql(
        "select tokens from reservations where user_id = %s and purpose = 'reply'", user_id
    )
    return int(str(tokens))


@pytest.mark.usefixtures("patience")
async def test_200_messages_at_once_and_a_flushed_redis_never_get_above_the_allowance(
    stack: Stack, billing: Billing
) -> None:
    services = _services(stack)
    async with running(services):
        probe = await _account(services)
        await _send(services, probe)
    limit = 20 * _worst_case(billing, probe.user_id)

    services = _services(stack, free_tokens_per_month=limit)
    redis = Redis.from_url(stack.env["REDIS_URL"])
    highest: list[int] = []
    over = asyncio.Event()

    async def flush_and_watch(user_id: UUID) -> None:
        while not over.is_set():
            await redis.flushall()
            used, reserved = await asyncio.to_thread(billing.held, user_id)
            highest.append(used + reserved)
            await asyncio.sleep(0.02)

    async with running(services):
        ada = await _account(services)
        watching = asyncio.create_task(flush_and_watch(ada.user_id))
        outcomes = Counter(await asyncio.gather(*(_send(services, ada) for _ in range(200))))
        # Leaving the block waits for the replies and their titles.
    over.set()
    await watching
    await redis.aclose()

    assert set(outcomes) == {"sent", "quota_exceeded"}
    assert outcomes["sent"] >= 20
    used, reserved = billing.held(ada.user_id)
    assert reserved == 0
    assert max(highest) <= limit
    assert used <= limit
    ((lines, booked),) = billing.sql(
        "select count(*) filter (where purpose = 'reply'), sum(quota_tokens)"
        " from usage_records where user_id = %s",
        ada.user_id,
    )
    assert (lines, booked) == (outcomes["sent"], used)
    # What was refused left nothing: no message, no conversation, no reservation.
    assert billing.sql(
        "select role, status, count(*) from messages where user_id = %s group by 1, 2 order by 1",
        ada.user_id,
    ) == [("assistant", "done", outcomes["sent"]), ("user", "done", outcomes["sent"])]
    assert billing.sql("select count(*) from conversations where user_id = %s", ada.user_id) == [
        (outcomes["sent"],)
    ]
    assert billing.sql(
        "select count(*) from reservations where user_id = %s and state = 'open'", ada.user_id
    ) == [(0,)]
