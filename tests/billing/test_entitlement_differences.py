"""Users whose plan isn't what follows from their subscriptions: found, listed, corrected, recorded."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from aisaas.adapters.redis_signals import RedisSignals
from aisaas.admin.entitlement_differences import Entitlements
from aisaas.billing.ports import Payments
from aisaas.errors import ActionInvalid, NotFound, Unavailable
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.admin.members import new_user
from tests.billing.conftest import Billing, Sql
from tests.billing.provider import event
from tests.billing.webhooks import Shop
from tests.parts import outage

UPDATED = "customer.subscription.updated"
WHO, WHY = "operator:tests", "their webhook was lost"


@pytest.fixture
def shop(billing: Billing, sql: Sql, signals: RedisSignals) -> Shop:
    return Shop(billing.service, sql, signals)


@pytest.fixture
def entitlements(billing: Billing, shop: Shop) -> Entitlements:
    # Nothing else of the port is asked for here.
    payments = cast("Payments", shop.provider)
    return Entitlements(billing.service, payments, shop.subscriptions)


async def plans(entitlements: Entitlements, user_id: object) -> list[tuple[str, str, bool]]:
    """What is listed of one user: ours, theirs, whether it is over."""
    page = await entitlements.page(WHO, differing=False)
    return [
        (each.ours.plan, each.theirs.plan, each.corrected_at is not None)
        for each in page.found
        if each.user_id == user_id
    ]


async def test_lost_upgrade_is_found_listed_and_corrected_with_its_reason(
    shop: Shop, entitlements: Entitlements
) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, plan="business")
    assert (await entitlements.compare_one(WHO, user_id)).differs
    # Looking changes nobody's plan.
    assert shop.profile(user_id).plan == "pro"
    assert await plans(entitlements, user_id) == [("pro", "business", False)]
    done = await entitlements.correct(WHO, user_id, reason=WHY)
    assert (done.before.plan, done.after.plan) == ("pro", "business")
    assert shop.profile(user_id).plan == "business"
    assert await plans(entitlements, user_id) == [("pro", "business", True)]
    assert shop.sql(
        "select actor, action, before ->> 'plan', after ->> 'plan', reason from audit_log"
        " where subject = %s",
        f"user:{user_id}",
    ) == [(WHO, "entitlement.correct", "pro", "business", WHY)]


async def test_plan_that_nobody_sold_is_taken_back(shop: Shop, entitlements: Entitlements) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.sql("update profiles set plan = 'business' where id = %s", user_id)
    assert (await entitlements.compare_one(WHO, user_id)).theirs.plan == "pro"
    await entitlements.correct(WHO, user_id, reason=WHY)
    assert shop.profile(user_id).plan == "pro"


async def test_who_has_what_they_pay_for_is_left_alone(
    shop: Shop, entitlements: Entitlements
) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    assert not (await entitlements.compare_one(WHO, user_id)).differs
    with pytest.raises(ActionInvalid):
        await entitlements.correct(WHO, user_id, reason=WHY)
    assert await plans(entitlements, user_id) == []


async def test_without_the_provider_nothing_is_compared_or_corrected(
    shop: Shop, entitlements: Entitlements
) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, plan="business")
    shop.provider.fail()
    with pytest.raises(Unavailable):
        await entitlements.compare_one(WHO, user_id)
    with pytest.raises(Unavailable):
        await entitlements.correct(WHO, user_id, reason=WHY)
    assert shop.profile(user_id).plan == "pro"


async def test_daily_look_notes_what_it_corrected(shop: Shop, entitlements: Entitlements) -> None:
    shop.sql("update profiles set billing_look_at = now() + interval '1 day'")
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, plan="business")
    shop.sql("update profiles set billing_look_at = now() where id = %s", user_id)
    await shop.subscriptions.look_again(10)
    assert await plans(entitlements, user_id) == [("pro", "business", True)]


async def test_only_admins_look_and_correct(services: Services, sql: Sql) -> None:
    someone = (await new_user(services, sql)).principal
    entitlements = services.money.entitlements
    with pytest.raises(NotFound):
        await entitlements.page(someone)
    with pytest.raises(NotFound):
        await entitlements.compare_one(someone, someone.user_id)
    with pytest.raises(NotFound):
        await entitlements.correct(someone, someone.user_id, reason=WHY)


async def test_of_two_admins_one_corrects_and_it_is_written_down_once(
    shop: Shop, entitlements: Entitlements
) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, plan="business")
    both = (entitlements.correct(WHO, user_id, reason=WHY) for _ in range(2))
    ended = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each) for each in ended if isinstance(each, Exception)] == [ActionInvalid]
    assert shop.profile(user_id).plan == "business"
    lines = "select count(*) from audit_log where subject = %s"
    assert shop.sql(lines, f"user:{user_id}") == [(1,)]
    assert await plans(entitlements, user_id) == [("pro", "business", True)]


async def test_without_the_database_nothing_is_corrected_and_it_can_be_afterwards(
    shop: Shop, entitlements: Entitlements, stack: Stack
) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, plan="business")
    with outage(stack, "postgres", "stopped"):
        for asked in (
            entitlements.health(WHO),
            entitlements.page(WHO),
            entitlements.compare(WHO),
            entitlements.compare_one(WHO, user_id),
            entitlements.correct(WHO, user_id, reason=WHY),
        ):
            with pytest.raises(Unavailable):
                await asked
    assert shop.profile(user_id).plan == "pro"
    await entitlements.correct(WHO, user_id, reason=WHY)
    assert shop.profile(user_id).plan == "business"


async def test_subscription_that_is_not_shown_is_reported_and_takes_nobodys_plan(
    shop: Shop, entitlements: Entitlements
) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.forget(sold)
    found = await entitlements.compare_one(WHO, user_id)
    assert found.differs
    assert sold.id in str(found.note)
    with pytest.raises(ActionInvalid, match="Nobody loses a plan"):
        await entitlements.correct(WHO, user_id, reason=WHY)
    assert shop.profile(user_id).plan == "pro"
    assert await plans(entitlements, user_id) == [("pro", "free", False)]
