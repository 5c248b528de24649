"""A message whose answer was lost may be sent again: it is one message, passed and paid once."""

from __future__ import annotations

import asyncio

import pytest

from aisaas.callers import Caller
from aisaas.chat.models import Started
from aisaas.errors import MessageInvalid
from aisaas.wiring import Services
from tests.services import Account, Build, Database, limited, whole


async def _send(services: Services, who: Caller, text: str = "hello", **more: object) -> Started:
    wanted: dict[str, object] = {"conversation_id": None, "model": "demo", "attempt": "one"} | more
    return await services.chat.send(who, text, **wanted)  # pyright: ignore[reportArgumentType]


def _rows(database: Database, who: Caller) -> tuple[int, int, int]:
    """Messages, reservations of replies that were not given back, conversations."""
    [[messages]] = database("select count(*) from messages where user_id = %s", who.user_id)
    [[held]] = database(
        "select count(*) from reservations where user_id = %s and purpose = 'reply'"
        " and state <> 'released'",
        who.user_id,
    )
    [[chats]] = database("select count(*) from conversations where user_id = %s", who.user_id)
    return int(str(messages)), int(str(held)), int(str(chats))


async def test_an_attempt_that_comes_again_is_the_first_one(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    first = await _send(services, ada, "long 50 speed 500")
    again = await _send(services, ada, "long 50 speed 500")
    assert (again.question.id, again.reply.id) == (first.question.id, first.reply.id)
    shown, stored = await whole(services, ada, again)
    assert (stored.status, stored.content) == ("done", shown)
    # Also when it has long been answered.
    later = await _send(services, ada, "long 50 speed 500")
    assert (later.reply.id, later.reply.content) == (first.reply.id, shown)
    assert _rows(database, ada) == (2, 1, 1)


async def test_arrivals_at_the_same_moment_are_one_message(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    begun = await _send(services, ada, attempt="before")
    await whole(services, ada, begun)
    for conversation, chats in ((None, 2), (begun.conversation_id, 2)):
        name = f"in {conversation}"
        arrived = await asyncio.gather(
            *(_send(services, ada, conversation_id=conversation, attempt=name) for _ in range(8))
        )
        assert len({started.reply.id for started in arrived}) == 1
        await whole(services, ada, arrived[0])
        [_, _, found] = _rows(database, ada)
        assert found == chats
    assert _rows(database, ada)[:2] == (6, 3)


async def test_the_last_request_of_a_minute_is_not_refused_to_its_own_repetition(
    build_services: Build, account: Account, database: Database
) -> None:
    ada = limited(await account(), requests_per_minute=1)
    async with build_services() as services:
        arrived = await asyncio.gather(*(_send(services, ada) for _ in range(5)))
        assert len({started.reply.id for started in arrived}) == 1
        await whole(services, ada, arrived[0])
    assert _rows(database, ada) == (2, 1, 1)


async def test_arrivals_at_several_processes_are_one_message(
    services: Services, build_services: Build, account: Account, database: Database
) -> None:
    ada = await account()
    async with build_services() as other:
        for number in range(5):
            name = f"attempt {number}"
            arrived = await asyncio.gather(
                *(_send(process, ada, attempt=name) for process in (services, other))
            )
            assert len({started.reply.id for started in arrived}) == 1
            await whole(services, ada, arrived[0])
    assert _rows(database, ada) == (10, 5, 5)


async def test_another_text_under_the_same_name_is_refused(
    services: Services, account: Account, database: Database
) -> None:
    ada = await account()
    await whole(services, ada, await _send(services, ada))
    with pytest.raises(MessageInvalid):
        await _send(services, ada, "something else")
    assert _rows(database, ada) == (2, 1, 1)


async def test_a_name_that_someone_else_used_leads_nowhere(
    services: Services, account: Account, database: Database
) -> None:
    ada, eve = await account(), await account()
    hers = await _send(services, ada)
    theirs = await _send(services, eve)
    assert hers.reply.id != theirs.reply.id
    await whole(services, ada, hers)
    await whole(services, eve, theirs)
    assert _rows(database, ada) == _rows(database, eve) == (2, 1, 1)
