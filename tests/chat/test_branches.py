"""Versions of questions and replies: all are kept, one path is in view, and it is what a model gets."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from aisaas.callers import Caller
from aisaas.chat.models import Message
from aisaas.errors import NotFound
from aisaas.wiring import Services
from tests.services import Account, Database, new_principal, whole

FIRST = "What was the first thing I said?"


async def said(services: Services, who: Caller, text: str, **more: Any) -> Message:
    """A message that was answered to the end: the reply."""
    wanted: dict[str, Any] = {"conversation_id": None, "model": "demo"} | more
    return (await whole(services, who, await services.chat.send(who, text, **wanted)))[1]


async def in_view(services: Services, who: Caller, conversation: UUID, **at: Any) -> list[str]:
    page = await services.conversations.open(who, conversation, **at)
    return [m.content if m.role == "user" else str(m.id) for m in page.messages]


async def test_prompt_is_the_path_of_the_question(services: Services, account: Account) -> None:
    ada = await account()
    one = await said(services, ada, "tea")
    await services.chat.title_ready(ada, one.conversation_id)
    two = await said(services, ada, "more", conversation_id=one.conversation_id)
    assert one.reply_to is not None
    coffee = await services.chat.edit(ada, one.reply_to, "coffee")
    _, answer = await whole(services, ada, coffee)
    where = one.conversation_id
    assert await in_view(services, ada, where) == ["coffee", str(answer.id)]
    asked = await said(services, ada, FIRST, conversation_id=where)
    assert "coffee" in asked.content
    # A tab that still shows the other path goes on there.
    asked = await said(services, ada, FIRST, conversation_id=where, after=two.id)
    assert "tea" in asked.content
    expected = ["tea", str(one.id), "more", str(two.id), FIRST, str(asked.id)]
    assert await in_view(services, ada, where) == expected
    # The same holds for an older page, message by message.
    found, before = [], None
    while older := await services.conversations.open(ada, where, before=before, limit=2):
        found = [message.content for message in older.messages] + found
        before = older.messages[0].id
        if not older.has_older:
            break
    assert [text for text in found if text in ("tea", "more", FIRST)] == ["tea", "more", FIRST]


async def test_versions_are_kept_and_come_into_view_by_any_message_of_theirs(
    services: Services, account: Account
) -> None:
    ada = await account()
    one = await said(services, ada, "tea")
    where = one.conversation_id
    await services.chat.title_ready(ada, where)
    began = await services.chat.regenerate(ada, one.id)
    assert began.versions == {began.reply.id: [one.id, began.reply.id]}
    _, two = await whole(services, ada, began)
    assert (two.parent_id, two.reply_to, two.depth) == (one.parent_id, one.reply_to, 1)
    assert await in_view(services, ada, where) == ["tea", str(two.id)]
    later = await said(services, ada, "more", conversation_id=where)
    page = await services.conversations.open(ada, where)
    assert page.versions == {two.id: [one.id, two.id]}
    # The path in view stays until a message is sent or another is opened.
    assert await in_view(services, ada, where, through=one.id) == ["tea", str(one.id)]
    assert await in_view(services, ada, where) == ["tea", str(one.id)]
    assert await in_view(services, ada, where, through=two.id) == [
        *("tea", str(two.id)),
        *("more", str(later.id)),
    ]


async def test_retry_of_a_failed_reply_stays_below_it(services: Services, account: Account) -> None:
    ada = await account()
    one = await said(services, ada, "fail 500", model="demo")
    again = await services.chat.retry(ada, one.id)
    _, two = await whole(services, ada, again)
    assert await in_view(services, ada, one.conversation_id) == [
        *("fail 500", str(one.id), str(two.id)),
    ]
    assert again.versions == {}


async def test_only_what_is_theirs_and_fits_has_versions(
    services: Services, account: Account, database: Database
) -> None:
    ada, eve = await account(), await new_principal(services)
    one = await said(services, ada, "tea")
    await services.chat.title_ready(ada, one.conversation_id)
    elsewhere = await said(services, ada, "another conversation")
    asked = one.reply_to
    assert asked is not None
    people = [ada.user_id, eve.user_id]
    count = "select count(*) from messages where user_id = any(%s)"
    before = database(count, people)
    where = one.conversation_id
    edit, regenerate, show = (
        services.chat.edit,
        services.chat.regenerate,
        services.conversations.open,
    )
    for refused in (
        # Another user's, none at all, and of the wrong kind.
        lambda: edit(eve, asked, "mine"),
        lambda: edit(ada, uuid4(), "mine"),
        lambda: edit(ada, one.id, "a reply"),
        lambda: regenerate(eve, one.id),
        lambda: regenerate(ada, uuid4()),
        lambda: regenerate(ada, asked),
        lambda: show(eve, where, through=one.id),
        lambda: show(ada, where, through=uuid4()),
        # A message of another conversation.
        lambda: show(ada, where, through=elsewhere.id),
        lambda: said(services, ada, "hi", conversation_id=where, after=elsewhere.id),
        lambda: said(services, eve, "hi", conversation_id=where, after=one.id),
        lambda: said(services, ada, "hi", conversation_id=where, after=uuid4()),
    ):
        with pytest.raises(NotFound):
            await refused()
    await services.conversations.delete(ada, where)
    for refused in (
        lambda: edit(ada, asked, "mine"),
        lambda: regenerate(ada, one.id),
        lambda: show(ada, where, through=one.id),
    ):
        with pytest.raises(NotFound):
            await refused()
    assert database(count, people) == before


async def test_running_reply_has_no_second_version_yet(
    services: Services, account: Account
) -> None:
    ada = await account()
    started = await services.chat.send(ada, "long 400 speed 20", conversation_id=None, model="demo")
    with pytest.raises(NotFound, match="still running"):
        await services.chat.regenerate(ada, started.reply.id)
    await services.chat.stop(ada, started.reply.id)
    await whole(services, ada, started)


async def test_edit_that_arrives_twice_is_one(services: Services, account: Account) -> None:
    ada = await account()
    one = await said(services, ada, "tea")
    assert one.reply_to is not None
    first = await services.chat.edit(ada, one.reply_to, "coffee", attempt="one")
    await whole(services, ada, first)
    again = await services.chat.edit(ada, one.reply_to, "coffee", attempt="one")
    assert again.reply.id == first.reply.id
    page = await services.conversations.open(ada, one.conversation_id)
    assert [len(ids) for ids in page.versions.values()] == [2]
