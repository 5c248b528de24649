"""Senders that die, and machines whose clocks are wrong: ledger and meter agree all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aisaas.billing.metering.outbox import Outbox
from aisaas.jobs.deliver_usage import deliver_usage
from devstack.stack import Stack
from devstack.tests.payments_client import KEY, until
from tests.metering.provider import Provider
from tests.metering.sender_process import EXIT, POINTS

ROOT = Path(__file__).parents[2]
DAYS = 86_400


@contextmanager
def process(
    stack: Stack, provider: Provider, *module: str, **variables: object
) -> Generator[subprocess.Popen[bytes]]:
    env = os.environ | {
        "TEST_DATABASE": stack.env["SERVICE_DATABASE_URL"],
        "TEST_API": provider.counterpart.url,
        "TEST_KEY": KEY,
        **{name: str(value) for name, value in variables.items()},
    }
    started = subprocess.Popen(
        [sys.executable, "-m", *module], env=env, cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def sender_process(stack: Stack, provider: Provider, **variables: object) -> Any:
    return process(stack, provider, "tests.metering.sender_process", **variables)


async def test_senders_that_die_at_any_step_lose_nothing_and_count_nothing_twice(
    stack: Stack, provider: Provider, outbox: Outbox
) -> None:
    customers = await provider.customers(10)
    provider.seed_many(customers, 12)
    await provider.fault("lost_answer", times=None, probability=0.05)
    for times in (1, 5):
        with (
            sender_process(stack, provider, TEST_POINT=POINTS[0], TEST_TIMES=times) as first,
            sender_process(stack, provider, TEST_POINT=POINTS[1], TEST_TIMES=times) as second,
            sender_process(stack, provider, TEST_POINT=POINTS[2], TEST_TIMES=times) as third,
            sender_process(stack, provider, TEST_POINT=POINTS[3], TEST_TIMES=times) as fourth,
        ):
            ends = [each.wait(30) for each in (first, second, third, fourth)]
        # The later ones may find that nothing is left to be claimed.
        assert EXIT in ends
        assert set(ends) <= {EXIT, 0}
        provider.hurry()
    await provider.no_faults()
    held = provider.states(customers)["pending"]
    assert held > 0
    await provider.drain([outbox], customers)
    assert provider.states(customers) == {"sent": 120}
    assert await provider.meter(customers) == provider.ledger(customers)


async def test_sender_that_is_killed_leaves_its_rows_to_the_next(
    stack: Stack, provider: Provider, outbox: Outbox
) -> None:
    customers = await provider.customers(10)
    provider.seed_many(customers, 20)
    with sender_process(stack, provider) as killed:
        await until(lambda: provider.states(customers).get("sent", 0) > 10)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
    # What it held is nobody else's until the claim runs out.
    ((held,),) = provider.sql("select count(*)::int from usage_outbox where claim is not null")
    await outbox.deliver_due()
    assert provider.states(customers).get("pending", 0) >= int(str(held))
    provider.hurry()
    await provider.drain([outbox], customers)
    assert provider.states(customers) == {"sent": 200}
    assert await provider.meter(customers) == provider.ledger(customers)


async def test_database_that_goes_away_costs_nothing(
    stack: Stack, provider: Provider, outbox: Outbox
) -> None:
    customers = await provider.customers(10)
    provider.seed_many(customers, 20)
    await provider.fault("delay", times=None, seconds=0.05)
    sending = asyncio.create_task(deliver_usage(outbox))
    try:
        await until(lambda: provider.states(customers).get("sent", 0) > 10)
        await asyncio.to_thread(stack.stop, "postgres")
        # Long enough for what is in flight to come back to a database that is not there.
        await asyncio.sleep(0.5)
        await asyncio.to_thread(stack.start, "postgres")
        provider.hurry()

        def sent() -> bool:
            provider.hurry_backoff()
            return provider.states(customers) == {"sent": 200}

        await until(sent)
    finally:
        outbox.stop()
        await sending
    assert await provider.meter(customers) == provider.ledger(customers)


@pytest.mark.parametrize("skew", [-40 * DAYS, 40 * DAYS])
async def test_wrong_clock_of_a_sender_changes_nothing(
    stack: Stack, provider: Provider, skew: int
) -> None:
    customers = await provider.customers(3)
    provider.seed_many(customers, 3)
    with sender_process(stack, provider, TEST_SKEW=skew) as wrong:
        assert wrong.wait(30) == 0
    assert provider.states(customers) == {"sent": 9}
    assert await provider.meter(customers) == provider.ledger(customers)


async def test_worker_delivers_and_ends_gently(stack: Stack, provider: Provider) -> None:
    customers = await provider.customers(3)
    provider.seed_many(customers, 3)
    variables = stack.env | {
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_API_BASE": provider.counterpart.url,
        "OPENAI_API_KEY": "sk-of-the-tests",
        "EMBEDDED_PARTS": ",".join(stack.parts),
    }
    with process(stack, provider, "aisaas", "worker", **variables) as worker:
        await until(lambda: provider.states(customers) == {"sent": 9})
        os.kill(worker.pid, signal.SIGTERM)
        printed, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    first, last = printed.decode().splitlines()
    assert "metering" in first
    assert last == "Stopped."
    assert await provider.meter(customers) == provider.ledger(customers)
