"""The door: each refusal has its code, and consumes nothing."""

from __future__ import annotations

import ast
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

import aisaas
from aisaas.callers import Caller
from aisaas.errors import QuotaExceeded, RateLimitedDay, RateLimitedMinute, Refusal, SpendingPaused
from aisaas.wiring import Services
from tests.services import Account, Build, Database, limited, new_principal, whole

Make = Callable[[Caller], Caller]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tight(build_services: Build) -> AsyncGenerator[Services]:
    """The limits of the free plan as they are sold."""
    async with build_services(
        free_requests_per_minute=10, free_requests_per_day=100, max_message_chars=1000
    ) as services:
        yield services


def as_is(caller: Caller) -> Caller:
    return caller


def stopped(caller: Caller, scope: str) -> Caller:
    return replace(caller, controls=replace(caller.controls, switches=frozenset({scope})))


@pytest.mark.parametrize(
    ("code", "text", "model", "who"),
    [
        ("message_invalid", "", "demo", as_is),
        ("message_invalid", " \n\t ", "demo", as_is),
        ("message_invalid", "nul \x00 byte", "demo", as_is),
        ("message_invalid", "half a pair \ud800", "demo", as_is),
        ("message_too_large", "x" * 1001, "demo", as_is),
        ("model_unavailable", "hello", "gpt-unknown", as_is),
        ("model_unavailable", "hello", "", as_is),
        ("model_unavailable", "hello", "demo-large", as_is),
        ("suspended", "hello", "demo", lambda p: replace(p, suspended=True)),
        ("quota_exceeded", "hello", "demo", lambda p: limited(p, tokens_per_month=0)),
        ("rate_limited_minute", "hello", "demo", lambda p: limited(p, requests_per_minute=0)),
        ("rate_limited_day", "hello", "demo", lambda p: limited(p, requests_per_day=0)),
        ("spending_paused", "hello", "demo", lambda p: stopped(p, "all")),
        (
            "spending_paused",
            "hello",
            "demo",
            lambda p: stopped(p, "provider:demo"),
        ),
    ],
)
async def test_refusal_has_its_code_and_consumes_nothing(
    tight: Services, database: Database, code: str, text: str, model: str, who: Make
) -> None:
    ada = await new_principal(tight)
    with pytest.raises(Refusal) as caught:
        await tight.chat.send(who(ada), text, conversation_id=None, model=model)
    assert caught.value.code == code
    assert caught.value.sentence.endswith(".")
    for table in ("conversations", "messages", "reservations", "usage_records"):
        assert not database(f"select 1 from {table} where user_id = %s", ada.user_id), table
    # Not a single request was counted: the whole minute is still there.
    for _ in range(10):
        started = await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
        await whole(tight, ada, started)


async def test_unknown_and_foreign_conversations_are_the_same_not_found(
    tight: Services, database: Database
) -> None:
    ada, eve = await new_principal(tight), await new_principal(tight)
    started = await tight.chat.send(eve, "hello", conversation_id=None, model="demo")
    await whole(tight, eve, started)
    sentences: set[str] = set()
    for conversation in (uuid4(), started.conversation_id):
        with pytest.raises(Refusal) as caught:
            await tight.chat.send(ada, "hello", conversation_id=conversation, model="demo")
        assert caught.value.code == "not_found"
        sentences.add(caught.value.sentence)
    assert len(sentences) == 1
    assert not database("select 1 from messages where user_id = %s", ada.user_id)


async def test_eleventh_message_in_a_minute_is_refused_until_the_first_is_a_minute_old(
    tight: Services,
) -> None:
    ada = await new_principal(tight)
    for _ in range(10):
        started = await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
        await whole(tight, ada, started)
    with pytest.raises(RateLimitedMinute):
        await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
    with pytest.raises(RateLimitedMinute) as caught:
        await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
    retry_at = caught.value.retry_at
    assert retry_at is not None
    assert datetime.now(UTC) < retry_at <= datetime.now(UTC) + timedelta(seconds=60)


async def test_day_limit_refuses_with_the_time_to_come_back(tight: Services) -> None:
    ada = limited(await new_principal(tight), requests_per_day=2)
    for _ in range(2):
        started = await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
        await whole(tight, ada, started)
    with pytest.raises(RateLimitedDay) as caught:
        await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
    assert caught.value.retry_at is not None
    assert caught.value.retry_at > datetime.now(UTC)


async def test_request_refused_by_the_quota_gives_its_rate_back(tight: Services) -> None:
    ada = await new_principal(tight)
    broke = limited(ada, tokens_per_month=0)
    for _ in range(15):
        with pytest.raises(QuotaExceeded) as caught:
            await tight.chat.send(broke, "hello", conversation_id=None, model="demo")
        assert caught.value.retry_at is not None
    started = await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
    await whole(tight, ada, started)


async def test_kill_switch_stops_the_next_call_and_lifting_it_lets_it_through(
    tight: Services, database: Database
) -> None:
    ada = await new_principal(tight)
    drill = f"drill {uuid4()}"
    for scope in ("all", "plan:free", "model:demo", "provider:demo"):
        assert await tight.switches.engage(scope, actor="test", reason=drill)
        try:
            # The caller was read before: the reservation asks once more.
            with pytest.raises(SpendingPaused):
                await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
        finally:
            assert await tight.switches.lift(scope, actor="test", reason=drill)
    started = await tight.chat.send(ada, "long 8", conversation_id=None, model="demo")
    await whole(tight, ada, started)
    actions = database("select action from audit_log where reason = %s order by created_at", drill)
    assert [row[0] for row in actions] == ["kill_switch.engage", "kill_switch.lift"] * 4


@pytest.mark.parametrize(
    ("cap", "scope"), [("free_tier_daily_usd", "free"), ("total_daily_usd", "total")]
)
async def test_daily_cap_refuses_before_the_provider_is_called(
    build_services: Build, database: Database, cap: str, scope: str
) -> None:
    spent = database(
        "select coalesce(max(spent_usd), 0) from spend_days where day = current_date and scope = %s",
        scope,
    )
    async with build_services(**{cap: spent[0][0]}) as capped:
        ada = await new_principal(capped)
        with pytest.raises(SpendingPaused) as caught:
            await capped.chat.send(ada, "long 8", conversation_id=None, model="demo")
    assert caught.value.retry_at is not None
    assert not database("select 1 from messages where user_id = %s", ada.user_id)


async def test_reply_is_clamped_to_what_is_left_of_the_allowance(
    services: Services, account: Account
) -> None:
    ada = limited(await account(), tokens_per_month=400)
    started = await services.chat.send(ada, "long 2000", conversation_id=None, model="demo")
    _, stored = await whole(services, ada, started)
    assert stored.status == "done"
    await services.chat.title_ready(ada, started.conversation_id)
    allowance = await services.quota.allowance(ada.billing)
    assert 0 < allowance.used <= 400
    assert allowance.reserved == 0


def test_only_the_guards_construct_an_admission() -> None:
    makers = {
        path.relative_to(Path(aisaas.__file__).parent).as_posix()
        for path in Path(aisaas.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "Admitted")
            or (isinstance(node.func, ast.Attribute) and node.func.attr == "Admitted")
        )
    }
    assert makers == {"chat/guards.py"}


async def test_refusal_for_too_small_a_rest_says_so(services: Services, account: Account) -> None:
    ada = limited(await account(), tokens_per_month=60)
    with pytest.raises(QuotaExceeded, match="60 tokens you have left"):
        await services.chat.send(ada, "word " * 200, conversation_id=None, model="demo")
