"""Subscriptions whose webhooks were lost are found, by any number of processes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from aisaas.adapters.redis_signals import RedisSignals
from aisaas.billing.subscriptions import store
from aisaas.errors import PaymentsError
from aisaas.jobs import synchronise_subscriptions as job
from tests.billing.conftest import Billing, Sql
from tests.billing.provider import DAY, event, new_subscription, this_second
from tests.billing.webhooks import Shop, new_customer

UPDATED = "customer.subscription.updated"


@pytest.fixture
def shop(billing: Billing, sql: Sql, signals: RedisSignals) -> Shop:
    # Only those of this test have their turn.
    sql("update profiles set billing_look_at = now() + interval '1 day'")
    sql("update profiles set plan_ends_at = null where plan_ends_at <= now()")
    return Shop(billing.service, sql, signals)


def due(shop: Shop, user_id: object) -> None:
    shop.sql("update profiles set billing_look_at = now() where id = %s", user_id)


async def test_subscription_whose_events_were_lost_is_found(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, status="canceled")
    due(shop, user_id)
    assert await shop.subscriptions.look_again(10) == 1
    assert shop.plan(user_id) == ("free", "cancelled")
    # It is over for good: nobody looks any more.
    due(shop, user_id)
    assert await shop.subscriptions.look_again(10) == 0


async def test_customer_of_whom_nothing_was_ever_heard_is_asked_about(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    assert await shop.subscriptions.look_again(10) == 1
    assert shop.profile(user_id)[:3] == ("pro", "active", sold.id)


async def test_everybody_has_their_turn_once_a_day(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    due(shop, user_id)
    assert [await shop.subscriptions.look_again(10) for _ in range(3)] == [1, 0, 0]
    assert shop.sql(
        "select billing_look_at > now() + interval '23 hours' from profiles where id = %s", user_id
    ) == [(True,)]


async def test_two_processes_share_the_work(shop: Shop) -> None:
    people = [shop.subscriber() for _ in range(6)]
    for user_id, _ in people:
        due(shop, user_id)
    processes = [shop.another() for _ in range(3)]
    taken = await asyncio.gather(*(each.subscriptions.look_again(2) for each in processes))
    assert sum(taken) == 6
    assert sorted(shop.provider.looks) == sorted(sold.id for _, sold in people)


async def test_lesser_plan_takes_over_when_the_better_one_ends_without_a_word(shop: Shop) -> None:
    user_id, lesser = shop.subscriber()
    better = shop.provider.put(
        new_subscription(user_id, new_customer(), plan="business", cancel_at=this_second() + DAY)
    )
    await shop.deliver(event(UPDATED, lesser), event(UPDATED, better))
    assert shop.plan(user_id) == ("business", "active")
    ended = this_second() - DAY
    shop.provider.change(better, cancel_at=ended)
    shop.sql("update profiles set plan_ends_at = %s where id = %s", ended, user_id)
    assert await shop.subscriptions.look_again(10) == 1
    assert shop.profile(user_id)[:4] == ("pro", "active", lesser.id, lesser.customer_id)


async def test_outage_of_the_provider_costs_nobody_their_turn(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, plan="business")
    due(shop, user_id)
    shop.provider.fail()
    with pytest.raises(PaymentsError):
        await shop.subscriptions.look_again(10)
    shop.provider.away = None
    # The process that claimed it may be gone; after a while any process may claim it.
    assert shop.sql(
        "select billing_look_at <= now() + make_interval(secs => %s) from profiles where id = %s",
        store.CLAIMED_SECONDS,
        user_id,
    ) == [(True,)]
    due(shop, user_id)
    await shop.subscriptions.look_again(10)
    assert shop.profile(user_id).plan == "business"


async def test_surprise_with_one_user_leaves_the_others_their_turn(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first, strange = shop.subscriber()
    second, sold = shop.subscriber()
    due(shop, first)
    due(shop, second)
    shop.sql("update profiles set billing_look_at = null where id = %s", first)
    shop.provider.change(strange, status=None)
    assert await shop.subscriptions.look_again(10) == 2
    assert (shop.profile(first).plan, shop.profile(second).subscription_id) == ("free", sold.id)
    assert str(first) in caplog.text


async def test_job_goes_on_after_an_outage(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    user_id, _ = shop.subscriber()
    shop.provider.fail()
    task = asyncio.create_task(job.synchronise_subscriptions(shop.subscriptions, every=0.05))
    async with asyncio.timeout(60):
        while "looked at later" not in caplog.text:
            await asyncio.sleep(0.02)
        shop.provider.away = None
        due(shop, user_id)
        while shop.profile(user_id).plan != "pro":
            await asyncio.sleep(0.02)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
