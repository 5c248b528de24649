"""How long a call stands at the door: from its cookie to `Admitted`, every guard included.

Alone, one after the other; and at a given rate, each call timed from when it was due, so that
waiting for the calls before it counts. What a call held is given back after it was timed. The
conversations have a dozen messages; the sessions are checked with the sign-in server when that is due.

The floor is what no way of admission can do without, on this machine at this time: one Lua call and one
reservation, sent by the drivers alone, in turn with the calls that are measured one by one.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import uvloop
from redis.asyncio import Redis

from aisaas import callers as resolving
from aisaas.adapters.redis_limiter import ACQUIRE
from aisaas.billing.plans.periods import running as running_period
from aisaas.billing.reservations.models import ReservationRequest
from aisaas.billing.reservations.store import reserve
from aisaas.chat.guards import ReplyRequest, admit, release
from aisaas.controls.kill_switch import scopes_of
from aisaas.db.migrate import upgrade
from aisaas.jobs.lifespan import running
from aisaas.settings import load
from aisaas.wiring import Services, build
from devstack.stack import PARTS, Stack

USERS = 40
MESSAGES = 12
RATE = 300
# A machine that can't keep up has others wait, and their wait is measured; it isn't run over.
UNDER_WAY = 48
WARM_UP_CALLS = 300
WARM_UP_SECONDS = 2
QUESTION = "How does a reservation bound what a parallel call may spend? " * 3

Floor = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Caller:
    cookie: str
    conversation_id: UUID


def measure(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Milliseconds, for `rounds` calls one by one, for `seconds` at RATE calls a second, and for the
    floor."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        upgrade(stack.env["MIGRATION_DATABASE_URL"])
        # On the loop that the server runs on.
        return uvloop.run(measured_on(stack, rounds, seconds))


async def measured_on(stack: Stack, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    values |= {
        "embedded_parts": ",".join(PARTS),
        "free_tokens_per_month": 1_000_000_000,
        "free_requests_per_minute": 1_000_000,
        "free_requests_per_day": 1_000_000,
        "free_parallel_replies": 1_000,
        "free_tier_daily_usd": 100_000,
        "total_daily_usd": 100_000,
        "sign_ups_per_address": 1_000,
    }
    services = build(load(**values))
    async with AsyncExitStack() as undo, running(services):
        await services.model.warm()
        callers = [await _caller(services, stack) for _ in range(USERS)]
        floor = await undo.enter_async_context(_bare(services, stack, callers[0]))
        # As `serve` does once everything is loaded: the objects that exist now are permanent.
        gc.collect()
        gc.freeze()
        await _one_by_one(services, callers, floor, WARM_UP_CALLS)
        alone, least = await _one_by_one(services, callers, floor, rounds)
        await _at_rate(services, callers, RATE * WARM_UP_SECONDS)
        at_rate = await _at_rate(services, callers, int(RATE * seconds))
    return {
        "alone": _percentiles(alone),
        f"at_{RATE}": _percentiles(at_rate),
        "floor": _percentiles(least),
    }


async def _caller(services: Services, stack: Stack) -> Caller:
    signed_in = await services.accounts.sign_up(
        f"{uuid4().hex}@example.com", "a password for a measurement", "", user_agent="bench"
    )
    assert signed_in is not None
    conversation_id = uuid4()
    url = stack.env["MIGRATION_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(
            "insert into public.conversations (id, user_id, model) values (%s, %s, 'demo')",
            [conversation_id, signed_in.user_id],
        )
        await connection.execute(
            """
            insert into public.messages (conversation_id, user_id, role, content, token_count)
            select %s, %s, case i %% 2 when 0 then 'user' else 'assistant' end,
              repeat('a few words of what was said ', 15), 90
            from generate_series(0, %s) i
            """,
            [conversation_id, signed_in.user_id, MESSAGES - 1],
        )
    return Caller(f"{services.cookie}={signed_in.token}", conversation_id)


async def _one_by_one(
    services: Services, callers: Sequence[Caller], floor: Floor, rounds: int
) -> tuple[list[float], list[float]]:
    """Calls, and floors."""
    found: list[float] = []
    floors: list[float] = []
    for number in range(rounds):
        due = time.perf_counter()
        found.append(await _pass(services, callers[number % len(callers)], due))
        floors.append(await floor())
    return found, floors


@asynccontextmanager
async def _bare(services: Services, stack: Stack, caller: Caller) -> AsyncGenerator[Floor]:
    """Milliseconds of one Lua call and one reservation, on connections of their own."""
    resolved = await services.callers.resolve(caller.cookie)
    redis = Redis.from_url(stack.env["REDIS_URL"])
    acquire = redis.register_script(ACQUIRE)
    connection = await psycopg.AsyncConnection.connect(
        stack.env["SERVICE_DATABASE_URL"], autocommit=True, prepare_threshold=None
    )
    await connection.execute("set role service_role")
    await connection.execute("set synchronous_commit to off")

    async def floor() -> float:
        claim = _claim(services, resolved, caller)
        ((statement, parameters),) = reserve(
            claim, free_cap=Decimal(100_000), total_cap=Decimal(100_000)
        ).statements
        keys = [f"bench:{window}" for window in ("minute", "day")]
        windows = [1_000_000, 60, 1, 1_000_000, 86_400, 0]
        began = time.perf_counter()
        await acquire(keys=keys, args=[str(claim.request_id), *windows])
        await (await connection.execute(statement, parameters)).fetchone()
        elapsed = (time.perf_counter() - began) * 1000
        await services.quota.release(claim.request_id)
        return elapsed

    try:
        yield floor
    finally:
        await connection.close()
        await redis.aclose()


def _claim(services: Services, resolved: resolving.Caller, caller: Caller) -> ReservationRequest:
    """What a measured call reserves."""
    account, model = resolved.billing, services.catalogue.find("demo", resolved.billing.plan)
    assert model is not None
    return ReservationRequest(
        request_id=uuid4(),
        user_id=resolved.user_id,
        conversation_id=caller.conversation_id,
        message_id=uuid4(),
        purpose="reply",
        plan=account.plan,
        models=(model,),
        prompt_estimate=2_000,
        prompt_count=1_500,
        max_tokens=1_000,
        min_tokens=16,
        period=running_period(account),
        limits=services.quota.limits_of(account),
        parallel=1_000,
        free_tier=True,
        switches=scopes_of(plan=account.plan, model=model.id, provider=model.provider),
        models_revision=services.catalogue.revision,
    )


async def _at_rate(services: Services, callers: Sequence[Caller], calls: int) -> list[float]:
    started = time.perf_counter()
    tasks: list[asyncio.Task[float]] = []
    turn = asyncio.Semaphore(UNDER_WAY)

    async def passed(caller: Caller, due: float) -> float:
        async with turn:
            return await _pass(services, caller, due)

    for number in range(calls):
        due = started + number / RATE
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        caller = callers[number % len(callers)]
        tasks.append(asyncio.create_task(passed(caller, due)))
    return await asyncio.gather(*tasks)


async def _pass(services: Services, caller: Caller, due: float) -> float:
    """Milliseconds from `due` until the call is admitted."""
    resolved = await services.callers.resolve(caller.cookie)
    call = ReplyRequest(
        caller=resolved,
        purpose="reply",
        text=QUESTION,
        model_id="demo",
        conversation_id=caller.conversation_id,
        message_id=uuid4(),
    )
    call, _ = await admit(services.admission, call)
    elapsed = (time.perf_counter() - due) * 1000
    await release(services.admission, call)
    return elapsed


def _percentiles(found: Sequence[float]) -> dict[str, float]:
    ordered = sorted(found)
    return {
        "p50_ms": round(ordered[len(ordered) // 2], 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)], 2),
    }
