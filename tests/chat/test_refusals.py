"""Every refused call is recorded for its user, without what they had written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from aisaas.callers import Caller
from aisaas.errors import ModelUnavailable, NotFound, RateLimitedMinute, Refusal
from aisaas.wiring import Services
from tests.services import Account, Build, Database, limited, whole

# More than the job needs for a round.
WRITTEN_SECONDS = 90


async def recorded(database: Database, user_id: UUID, least: int) -> list[tuple[object, ...]]:
    """What is stored once at least that many refusals are."""
    async with asyncio.timeout(WRITTEN_SECONDS):
        while True:
            found = database(
                "select code, model, sum(times)::int from refusals where user_id = %s"
                " group by 1, 2 order by 1",
                user_id,
            )
            if sum(int(str(row[2])) for row in found) >= least:
                return found
            await asyncio.sleep(0.05)


async def refused(services: Services, who: Caller, text: str, model: str = "demo") -> str:
    with pytest.raises(Refusal) as caught:
        await services.chat.send(who, text, conversation_id=None, model=model)
    return caught.value.code


async def test_refused_messages_are_counted_by_reason(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    slow = limited(ada, requests_per_minute=0)
    for _ in range(3):
        assert await refused(services, slow, "hello") == RateLimitedMinute.code
    assert await refused(services, ada, "hello", "demo-large") == ModelUnavailable.code
    # What a browser made up is no model, whatever it is made of; nor does it keep the rest unwritten.
    for nonsense in ("no-such-model", "\x00", "\ud800", "x" * 100_000):
        assert await refused(services, replace(ada, suspended=True), "hello", nonsense)
    assert await recorded(database, ada.user_id, 8) == [
        ("model_unavailable", "demo-large", 1),
        ("rate_limited_minute", "demo", 3),
        ("suspended", None, 4),
    ]


async def test_refused_retry_is_counted_and_an_accepted_message_is_not(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    sent = await services.chat.send(ada, "hello", conversation_id=None, model="demo")
    await whole(services, ada, sent)
    with pytest.raises(RateLimitedMinute):
        await services.chat.retry(limited(ada, requests_per_minute=0), sent.reply.id)
    assert await recorded(database, ada.user_id, 1) == [("rate_limited_minute", "demo", 1)]


async def test_refusal_whose_tab_has_left_is_counted(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    sending = asyncio.create_task(
        services.chat.send(ada, "hello", conversation_id=uuid4(), model="demo")
    )
    # The guards have begun, and ask the database now.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await recorded(database, ada.user_id, 1) == [(NotFound.code, "demo", 1)]


async def test_process_that_ends_writes_what_it_has_counted(
    build_services: Build, account: Account, database: Database
) -> None:
    async with build_services() as other:
        ada = await account(other)
        assert await refused(other, replace(ada, suspended=True), "hello") == "suspended"
    # Nothing is waited for: it was written before the process had ended.
    assert database("select code from refusals where user_id = %s", ada.user_id) == [("suspended",)]
