"""Whose replies reach the outbox, from which moment on, and in which period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aisaas.callers import Caller
from aisaas.wiring import Services
from tests.services import Database, Member, new_member, whole

ANSWER = "long 30"
SLOW = "long 60 speed 60"


@pytest.fixture
async def ada(services: Services) -> Member:
    return await new_member(services)


async def _again(services: Services, ada: Member) -> Caller:
    return await services.callers.resolve(ada.cookie)


def _subscribe(database: Database, ada: Member, start: datetime) -> str:
    """As a webhook leaves it, with nothing included: all that is used costs extra."""
    user_id = ada.principal.user_id
    database(
        "update profiles set plan = 'pro', subscription_status = 'active', period_tokens = 0,"
        " subscription_id = %s, stripe_customer_id = %s, period_start = %s, period_end = %s"
        " where id = %s",
        f"sub_{user_id.hex}",
        f"cus_{user_id.hex}",
        start,
        start + timedelta(days=30),
        user_id,
    )
    return f"sub_{user_id.hex}:{int(start.timestamp())}"


async def _reply(services: Services, principal: Caller) -> None:
    started = await services.chat.send(principal, ANSWER, conversation_id=None, model="demo")
    await whole(services, principal, started)


def _booked(database: Database, ada: Member) -> list[tuple[object, ...]]:
    """Plan, period, quota tokens, and the tokens that go to the meter, of each reply in turn."""
    return database(
        "select u.plan, u.period_key, u.quota_tokens, o.tokens from usage_records u"
        " left join usage_outbox o on o.usage_record_id = u.id"
        " where u.user_id = %s and u.purpose = 'reply' order by u.created_at",
        ada.principal.user_id,
    )


async def test_user_who_upgrades_is_metered_from_that_moment_in_the_new_period(
    services: Services, database: Database, ada: Member
) -> None:
    await _reply(services, ada.principal)
    key = _subscribe(database, ada, datetime.now(UTC).replace(microsecond=0))
    await _reply(services, await _again(services, ada))
    free, paid = _booked(database, ada)
    assert (free[0], free[3]) == ("free", None)
    assert str(free[1]).startswith("month:")
    assert paid[:2] == ("pro", key)
    assert paid[2] == paid[3]


async def test_reply_that_began_before_the_upgrade_is_free_to_its_end(
    services: Services, database: Database, ada: Member
) -> None:
    started = await services.chat.send(ada.principal, SLOW, conversation_id=None, model="demo")
    _subscribe(database, ada, datetime.now(UTC).replace(microsecond=0))
    await whole(services, ada.principal, started)
    ((plan, _, tokens, metered),) = _booked(database, ada)
    assert (plan, metered) == ("free", None)
    assert int(str(tokens)) > 0


async def test_user_who_cancelled_is_metered_to_the_plans_end_and_not_beyond(
    services: Services, database: Database, ada: Member
) -> None:
    key = _subscribe(database, ada, datetime.now(UTC) - timedelta(days=3))
    user_id = ada.principal.user_id
    database("update profiles set plan_ends_at = now() + interval '1 hour' where id = %s", user_id)
    await _reply(services, await _again(services, ada))
    # No event tells of it: the moment is enough.
    database(
        "update profiles set plan_ends_at = now() - interval '1 second' where id = %s", user_id
    )
    await _reply(services, await _again(services, ada))
    before, after = _booked(database, ada)
    assert (before[0], before[1], before[2] == before[3]) == ("pro", key, True)
    assert (after[0], after[3]) == ("free", None)


async def test_title_of_a_paid_conversation_is_metered_like_its_reply(
    services: Services, database: Database, ada: Member
) -> None:
    _subscribe(database, ada, datetime.now(UTC).replace(microsecond=0))
    await _reply(services, await _again(services, ada))
    tasks = list(services.running._tasks)  # pyright: ignore[reportPrivateUsage]
    for task in tasks:
        await task
    ((ledger, meter),) = database(
        "select (select sum(quota_tokens) from usage_records where user_id = %(id)s)::int,"
        " (select sum(tokens) from usage_outbox where user_id = %(id)s)::int".replace(
            "%(id)s", "%s"
        ),
        ada.principal.user_id,
        ada.principal.user_id,
    )
    assert ledger == meter
    assert int(str(ledger)) > 0
