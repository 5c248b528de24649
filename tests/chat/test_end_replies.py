"""Replies of users who were signed out or suspended: they end, are settled, and nothing follows."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from functools import partial

import pytest

from aisaas.accounts.store import LiveSession
from aisaas.chat.models import Started
from aisaas.jobs import lifespan
from aisaas.jobs.end_replies import end_replies, end_replies_once
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.parts import AuthAdmin, outage
from tests.services import Build, Database, Member, new_member, whole

SLOW = "long 4000 speed 60"
PASSWORD = "a long enough password"


@pytest.fixture
def auth_admin(stack: Stack) -> Generator[AuthAdmin]:
    admin = AuthAdmin(stack)
    yield admin
    admin.close()


async def _running(services: Services, member: Member) -> Started:
    """A reply that has begun to answer and would go on for a minute."""
    started = await services.chat.send(member.principal, SLOW, conversation_id=None, model="demo")
    running = services.running.get(started.reply.id)
    assert running is not None
    while not running.text_from(0).text:
        await asyncio.sleep(0.02)
    return started


def _half_a_minute_later(database: Database, member: Member) -> None:
    database(
        "update private.sessions set verified_at = verified_at - interval '31 s' where user_id = %s",
        member.principal.user_id,
    )


async def _is_settled_as_stopped(services: Services, database: Database, started: Started) -> None:
    while services.running.get(started.reply.id) is not None:
        await asyncio.sleep(0.02)
    ((outcome, completion),) = database(
        "select outcome, completion_tokens from usage_records where message_id = %s",
        started.reply.id,
    )
    assert outcome == "stopped"
    assert 0 < completion < 4000  # pyright: ignore[reportOperatorIssue]
    assert database("select state from reservations where message_id = %s", started.reply.id) == [
        ("settled",)
    ]
    # Nor is a title made for them.
    await _is_quiet(services, started)
    assert database(
        "select purpose from usage_records where user_id = %s", started.question.user_id
    ) == [("reply",)]


async def _is_quiet(services: Services, started: Started) -> None:
    """No title is being made of it. The task that makes one is there before the reply has ended."""
    title = services.chat._titles.get(started.conversation_id)  # pyright: ignore[reportPrivateUsage]
    if title is not None:
        await asyncio.wait([title])


async def _goes_on(services: Services, member: Member, started: Started) -> None:
    running = services.running.get(started.reply.id)
    assert running is not None
    length = len(running.text_from(0).text)
    while len(running.text_from(0).text) == length:
        await asyncio.sleep(0.02)
    assert (await services.chat.message(member.principal, started.reply.id)).status == "streaming"
    await services.chat.stop(member.principal, started.reply.id)
    await whole(services, member.principal, started)


async def test_reply_of_a_banned_user_is_stopped_and_paid_for(
    services: Services, database: Database, auth_admin: AuthAdmin
) -> None:
    ada = await new_member(services)
    started = await _running(services, ada)
    auth_admin.ban(ada.principal.user_id)
    _half_a_minute_later(database, ada)
    await end_replies_once(services.accounts, services.running)
    await _is_settled_as_stopped(services, database, started)
    assert database("select status, error_code from messages where id = %s", started.reply.id) == [
        ("stopped", "session_ended")
    ]


async def test_reply_of_a_deleted_user_is_stopped_and_stays_in_the_ledger(
    services: Services, database: Database, auth_admin: AuthAdmin
) -> None:
    ada = await new_member(services)
    started = await _running(services, ada)
    auth_admin.delete(ada.principal.user_id)
    await end_replies_once(services.accounts, services.running)
    await _is_settled_as_stopped(services, database, started)


async def test_reply_of_a_suspended_user_is_stopped(services: Services, database: Database) -> None:
    ada = await new_member(services)
    started = await _running(services, ada)
    database("update profiles set suspended_at = now() where id = %s", ada.principal.user_id)
    await end_replies_once(services.accounts, services.running)
    await _is_settled_as_stopped(services, database, started)


@pytest.mark.parametrize("where", ["here", "elsewhere", "everywhere", "one"])
async def test_reply_ends_with_its_session(
    services: Services, database: Database, where: str
) -> None:
    ada = await new_member(services)
    started = await _running(services, ada)
    again = await services.accounts.sign_in(ada.principal.email, PASSWORD, user_agent="tests")
    other = f"{services.cookie}={again.token}"
    match where:
        case "here":
            await services.accounts.sign_out(ada.cookie)
        case "elsewhere":
            await services.accounts.sign_out(other, "others")
        case "everywhere":
            await services.accounts.sign_out(other, "everywhere")
        case _:
            await services.accounts.end_session(other, ada.principal.session_id)
    await end_replies_once(services.accounts, services.running)
    await _is_settled_as_stopped(services, database, started)


async def test_replies_of_everybody_else_go_on(services: Services, database: Database) -> None:
    ada, bob = await new_member(services), await new_member(services)
    theirs, his = await _running(services, ada), await _running(services, bob)
    await services.accounts.sign_out(ada.cookie)
    _half_a_minute_later(database, bob)
    await end_replies_once(services.accounts, services.running)
    await _is_settled_as_stopped(services, database, theirs)
    await _goes_on(services, bob, his)


@pytest.mark.parametrize("part", ["auth", "postgres"])
async def test_outage_ends_no_reply(
    services: Services, database: Database, stack: Stack, part: str
) -> None:
    ada = await new_member(services)
    started = await _running(services, ada)
    # Longer ago than anybody is trusted for a new call.
    for _ in range(3):
        _half_a_minute_later(database, ada)
    with outage(stack, part, "stopped"):
        await end_replies_once(services.accounts, services.running)
    await _goes_on(services, ada, started)


async def test_title_is_not_made_for_a_user_who_was_shut_out_when_the_answer_ended(
    build_services: Build, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The answer ends before anybody looks whether its session is over.
    monkeypatch.setattr(lifespan, "end_replies", partial(end_replies, every=3600))
    async with build_services() as process:
        ada = await new_member(process)
        started = await process.chat.send(
            ada.principal, "long 60 speed 60", conversation_id=None, model="demo"
        )
        await process.accounts.sign_out(ada.cookie)
        _, stored = await whole(process, ada.principal, started)
        assert stored.status == "done"
        await _is_quiet(process, started)
        assert database(
            "select purpose from usage_records where user_id = %s", ada.principal.user_id
        ) == [("reply",)]


async def test_process_looks_after_its_replies_by_itself(
    build_services: Build, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifespan, "end_replies", partial(end_replies, every=0.1))
    async with build_services() as process:
        ada = await new_member(process)
        started = await _running(process, ada)
        await process.accounts.sign_out(ada.cookie)
        await _is_settled_as_stopped(process, database, started)


async def test_many_sessions_are_looked_at_with_one_query_and_few_questions_at_once(
    services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [await new_member(services) for _ in range(12)]
    for member in members:
        _half_a_minute_later(database, member)
    identity = services.accounts._identity  # pyright: ignore[reportPrivateUsage]
    ask, now, most = identity.get_user, 0, 0

    async def counted(access_token: str) -> object:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await ask(access_token)
        finally:
            now -= 1

    monkeypatch.setattr(identity, "get_user", counted)
    ids = [member.principal.session_id for member in members]
    looks = [
        [gone async for gone in services.accounts.ended(ids)],
        [gone async for gone in services.accounts.ended(ids)],
    ]
    assert looks == [[], []]
    assert 1 < most <= 8


async def test_session_that_surprises_keeps_no_other_from_being_ended(
    services: Services, database: Database, auth_admin: AuthAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange, banned = await new_member(services), await new_member(services)
    first, second = await _running(services, strange), await _running(services, banned)
    auth_admin.ban(banned.principal.user_id)
    for member in (strange, banned):
        _half_a_minute_later(database, member)
    live = services.accounts._live  # pyright: ignore[reportPrivateUsage]
    check = live._check_once  # pyright: ignore[reportPrivateUsage]

    async def surprising(session: LiveSession) -> None:
        if session.principal.user_id == strange.principal.user_id:
            raise ZeroDivisionError
        # It comes after the one that fails.
        await asyncio.sleep(0)
        await check(session)

    monkeypatch.setattr(live, "_check_once", surprising)
    await end_replies_once(services.accounts, services.running)
    await _is_settled_as_stopped(services, database, second)
    await _goes_on(services, strange, first)
