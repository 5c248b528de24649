"""What happens when things die: the process, Redis, the database, the sign-in server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from uuid import UUID

import pytest

from aisaas.errors import Unavailable
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.chat.reply_process import POINTS
from tests.parts import production_limits
from tests.services import (
    EMBEDDED,
    HIGH_CAPS,
    NO_SENDERS,
    Account,
    Build,
    Database,
    limited,
    new_member,
    whole,
)


# Two processes start, and import what takes them a minute where everybody else is busy, too.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", POINTS)
async def test_killed_process_loses_neither_shown_text_nor_usage(
    services: Services,
    stack: Stack,
    build_services: Build,
    database: Database,
    catalogue: Path,
    point: str,
) -> None:
    member = await new_member(services)
    settings: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    settings |= {
        "embedded_parts": EMBEDDED,
        "model_catalogue": str(catalogue),
        "default_model": "demo",
        **HIGH_CAPS,
        **NO_SENDERS,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chat.reply_process",
        env=os.environ
        | {
            "TEST_SETTINGS": json.dumps(settings),
            "TEST_COOKIE": member.cookie,
            "TEST_POINT": point,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    reply_id = UUID(json.loads(await process.stdout.readline()))
    shown = ""
    while isinstance(line_said := json.loads(await process.stdout.readline()), str):
        shown += line_said
        if point == "reply" and len(shown) > 300:
            break
    process.kill()
    async for line in process.stdout:
        line_said = json.loads(line) if line.endswith(b"\n") else ""
        shown += line_said if isinstance(line_said, str) else ""
    await process.wait()

    ada = member.principal
    settled_already = point == "after settling"
    status = (await services.chat.message(ada, reply_id)).status
    assert status == ("done" if settled_already else "streaming")
    # A second tab reads on, in another process, and its lease has not run out yet.
    assert (await services.chat.text_from(ada, reply_id, 0)).text.startswith(shown)
    assert await services.recovery.run_once() == 0

    database("update reservations set lease_expires_at = now() where message_id = %s", reply_id)
    async with build_services() as elsewhere:
        settled = await asyncio.gather(services.recovery.run_once(), elsewhere.recovery.run_once())
    # Jobs of running processes take part too, so it may be none of these two; never twice.
    assert sum(settled) <= 1
    while (stored := await services.chat.message(ada, reply_id)).status == "streaming":
        await asyncio.sleep(0.1)
    expected = ("done", None) if settled_already else ("interrupted", "process_lost")
    assert (stored.status, stored.error_code) == expected
    assert stored.content.startswith(shown)
    ((lines, completion),) = database(
        "select count(*), max(completion_tokens) from usage_records where message_id = %s", reply_id
    )
    produced = 40 if settled_already else services.model.count_tokens(stored.content)
    assert (lines, completion) == (1, produced)
    assert database("select state from reservations where message_id = %s", reply_id) == [
        ("settled",)
    ]
    again = await services.chat.retry(ada, reply_id)
    await services.chat.stop(ada, again.reply.id)
    await whole(services, ada, again)


@pytest.mark.parametrize("outage", ["kill", "pause"])
async def test_without_redis_calls_are_refused_reading_works_and_running_replies_finish(
    services: Services, account: Account, stack: Stack, outage: str
) -> None:
    ada = await account()
    started = await services.chat.send(
        ada, "long 200 speed 200", conversation_id=None, model="demo"
    )
    getattr(stack, outage)("valkey")
    try:
        with production_limits(), pytest.raises(Unavailable):
            await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        page = await services.conversations.open(ada, started.conversation_id)
        assert len(page.messages) == 2
        with production_limits():
            shown, stored = await whole(services, ada, started)
        assert (stored.status, stored.content) == ("done", shown)
    finally:
        if outage == "kill":
            stack.start("valkey")
        else:
            stack.resume("valkey")
    again = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
    _, stored = await whole(services, ada, again)
    assert stored.status == "done"


async def test_without_the_database_nothing_is_called_and_a_running_reply_settles_when_it_is_back(
    services: Services, account: Account, stack: Stack, database: Database
) -> None:
    ada = await account()
    started = await services.chat.send(
        ada, "long 150 speed 300", conversation_id=None, model="demo"
    )
    stack.kill("postgres")
    try:
        with pytest.raises(Unavailable):
            await services.chat.send(ada, "hello", conversation_id=None, model="demo")
        running = services.running.get(started.reply.id)
        assert running is not None
        while running.produced is None:
            await asyncio.sleep(0.05)
    finally:
        stack.start("postgres")
    for _ in range(200):
        if services.running.get(started.reply.id) is None:
            break
        await asyncio.sleep(0.05)
    _, stored = await whole(services, ada, started)
    assert (stored.status, stored.completion_tokens) == ("done", 150)
    assert database(
        "select count(*) from usage_records where message_id = %s", started.reply.id
    ) == [(1,)]


async def test_flushing_redis_lets_nobody_spend_more(
    services: Services, account: Account, database: Database
) -> None:

    import redis.asyncio

    ada = limited(await account(), tokens_per_month=3000)
    client = redis.asyncio.Redis.from_url(services.settings.redis_url.get_secret_value())  # pyright: ignore[reportOptionalMemberAccess]
    refused = 0

    async def one(number: int) -> None:
        nonlocal refused
        if number % 20 == 10:
            await client.flushall()
        try:
            started = await services.chat.send(ada, "long 100", conversation_id=None, model="demo")
            await whole(services, ada, started)
        except Exception:  # noqa: BLE001
            refused += 1

    await asyncio.gather(*(one(number) for number in range(100)))
    await client.aclose()
    while (await services.quota.allowance(ada.billing)).reserved:
        await asyncio.sleep(0.05)
    ((used,),) = database(
        "select sum(quota_tokens) from usage_records where user_id = %s", ada.user_id
    )
    assert 0 < used <= 3000  # pyright: ignore[reportOperatorIssue]
    assert refused > 0
    assert (await services.quota.allowance(ada.billing)).used == used


async def test_lost_reply_of_a_model_that_is_sold_no_more_is_still_counted(
    build_services: Build, database: Database
) -> None:
    from tests.chat.conftest import new_principal

    async with build_services() as leaving:
        ada = await new_principal(leaving)
        started = await leaving.chat.send(
            ada, "long 400 speed 200", conversation_id=None, model="demo"
        )
        async for segment in leaving.chat.follow(ada, started.reply.id):
            if segment.text:
                running = leaving.running.get(started.reply.id)
                assert running is not None
                # It ends without settling, as if its process were gone.
                running.mark_lease_lost()
        database(
            "update reservations set model = 'gone-1', lease_expires_at = now()"
            " where message_id = %s",
            started.reply.id,
        )
        while (stored := await leaving.chat.message(ada, started.reply.id)).status == "streaming":
            await leaving.recovery.run_once()
            await asyncio.sleep(0.05)
    assert stored.status == "interrupted"
    ((model, completion, cost, version),) = database(
        "select model, completion_tokens, cost_usd, price_version from usage_records"
        " where message_id = %s",
        started.reply.id,
    )
    assert (model, version, cost) == ("demo", "demo-1", stored.cost_usd)
    assert completion == leaving.model.count_tokens(stored.content) > 0


@pytest.mark.parametrize("hours", [-7, 7, 24 * 40])
async def test_process_whose_clock_is_wrong_keeps_order_leases_periods_and_limits(
    services: Services, stack: Stack, database: Database, catalogue: Path, hours: int
) -> None:
    member = await new_member(services)
    settings: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    settings |= {
        "embedded_parts": EMBEDDED,
        "model_catalogue": str(catalogue),
        "default_model": "demo",
        "free_requests_per_minute": 1,
        # LiteLLM is imported meanwhile, which takes long where much else runs.
        "first_token_timeout_seconds": 300,
        **HIGH_CAPS,
        **NO_SENDERS,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chat.skewed_process",
        env=os.environ
        | {
            "TEST_SKEW": str(hours * 3600),
            "TEST_SETTINGS": json.dumps(settings),
            "TEST_COOKIE": member.cookie,
            "TEST_POINT": "none",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    reply_id = UUID(json.loads(await process.stdout.readline()))
    # While it runs, nobody takes it for abandoned.
    assert await services.recovery.run_once() == 0
    await process.wait()
    ada = member.principal
    stored = await services.chat.message(ada, reply_id)
    assert stored.status == "done"
    ((age, period, now),) = database(
        "select abs(extract(epoch from now() - m.created_at)) < 60, u.period_key,"
        " 'month:' || to_char(now() at time zone 'UTC', 'YYYY-MM')"
        " from messages m join usage_records u on u.message_id = m.id where m.id = %s",
        reply_id,
    )
    assert (age, period) == (True, now)
    # Its session goes on elsewhere, and what it counted counts here.
    again = await services.chat.send(
        ada, "hello", conversation_id=stored.conversation_id, model="demo"
    )
    await whole(services, ada, again)
    page = await services.conversations.open(ada, stored.conversation_id)
    assert [message.id for message in page.messages][1::2] == [reply_id, again.reply.id]
    assert (await services.quota.allowance(ada.billing)).used > 0
