"""What becomes of the plan, its usage, and its money when a subscription is changed, refunded, or given up."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aisaas.billing.subscriptions.checkout import cents
from aisaas.billing.subscriptions.models import AfterRefund
from devstack.stack import Stack
from devstack.tests.payments_client import Counterpart
from tests.metering.life import BUSINESS, living, sell
from tests.metering.provider import Sql


async def test_extra_usage_of_a_subscription_that_is_given_up_is_written_off(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.step("use 1500")
        await life.step("break card")
        # While the renewal's invoice is a draft, nobody knows that it won't be paid.
        await life.step("renew early")
        await life.step("use 1700")
        first, last = sorted(life.ledger().items(), key=lambda each: each[0].rsplit(":")[-1])
        assert (first[1], last[1]) == (Decimal("6.17"), Decimal("8.64"))
        await life.step("give up")
        assert await life.live() is None
        assert life.written_off() == dict([last])
        # The period before is on an invoice, which can still be paid.
        assert {k: v for k, v in (await life.invoiced()).items() if v} == dict([first])
        assert [each.status for each in await life.invoices()] == ["open", "paid"]
        credited = sql(
            "select values ->> 'usd', values ->> 'tokens' from billing_notices"
            " where kind = 'written_off' and values ->> 'user_id' = %s",
            str(life.user_id),
        )
        assert credited == [("8.641975", "700")]
        # However often the end is seen.
        await life.look()
        assert len(life.written_off()) == 1


@pytest.mark.parametrize(
    ("cap", "charged"),
    [
        # What 500 tokens cost is a little less, so all of them fit.
        (Decimal("6.18"), Decimal("6.172839")),
        (Decimal("6.17"), Decimal("6.160493")),
        (Decimal(0), Decimal(0)),
    ],
)
async def test_cap_that_is_lowered_while_a_reply_is_written_bounds_its_invoice(
    stack: Stack, payments: Counterpart, sql: Sql, cap: Decimal, charged: Decimal
) -> None:
    await sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.step("begin 1500")
        await life.checkout.set_cap(await life.account(), cap)
        await life.step("finish")
        assert list(life.spent().values()) == [charged]
        ((used,),) = sql("select used from quota_periods where user_id = %s", life.user_id)
        assert used == 1_500
        await life.step("renew")
        asked = [usd for usd in (await life.invoiced()).values() if usd]
        assert asked == ([cents(charged)] if charged else [])


async def test_second_subscription_is_ended_and_refunded_and_both_are_reported(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.step("use 1500")
        first = await life.live()
        await life.step("beside business")
        assert life.did[-1] == "beside business"
        found = await life.live()
        assert found.id == first.id
        assert (await life.account()).plan == "pro"
        listed = await life.client.v1.charges.list_async({"customer": found.customer})
        assert [(each.amount, each.amount_refunded) for each in listed.data] == [
            (10_000, 10_000),
            (2_000, 0),
        ]
        rows = sql(
            "select kind, values ->> 'amount' from billing_notices where user_id = %s"
            " and kind = 'duplicate_ended' union all"
            " select kind, values ->> 'amount' from billing_notices where kind = 'duplicate_found'"
            " and values ->> 'user_id' = %s order by 1",
            life.user_id,
            str(life.user_id),
        )
        assert rows == [("duplicate_ended", "10000"), ("duplicate_found", "10000")]
        await life.step("renew")
        assert {k: v for k, v in (await life.invoiced()).items() if v} == life.ledger()


async def test_upgrade_keeps_what_is_included_and_counts_nothing_twice(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.step("use 1500")
        before = await life.quota.allowance(await life.account())
        assert (before.included, before.billed_tokens) == (1_000, 500)
        await life.step("switch business")
        who = await life.account()
        after = await life.quota.allowance(who)
        # The whole difference: the period has just begun. What was charged isn't used of it.
        assert (who.plan, after.included, after.used) == (
            "business",
            pytest.approx(5_000, abs=2),
            1_000,
        )
        assert (after.billed_tokens, after.billed_usd) == (500, Decimal("6.172839"))
        limits = life.quota.limits_of(who)
        assert BUSINESS.price is not None
        left = BUSINESS.price.default_cap_usd - after.billed_usd
        assert limits.overage == BUSINESS.price.tokens_for(left)
        # A smaller plan begins with the next period.
        await life.step("switch pro")
        who = await life.account()
        assert who.subscription is not None
        assert (who.plan, who.subscription.next_plan) == ("business", "pro")
        await life.step("renew")
        who = await life.account()
        assert who.subscription is not None
        assert (who.plan, who.subscription.next_plan) == ("pro", None)
        assert life.quota.limits_of(who).included == 1_000
        # What saw to that holds the subscription no more: the portal offers to cancel it.
        assert (await life.live()).schedule is None
        await life.step("cancel")
        assert life.did[-1] == "cancel"


@pytest.mark.parametrize("how", ["refund", "dispute"])
async def test_payment_that_went_back_suspends_what_it_paid_for_until_the_next_is_paid(
    stack: Stack, payments: Counterpart, sql: Sql, how: str
) -> None:
    await sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.release(how)
        assert (await life.account()).plan == "free"
        ((action,),) = sql(
            "select values ->> 'plan_change' from billing_notices where values ->> 'user_id' = %s"
            " and kind in ('refunded', 'dispute_closed') order by created_at desc limit 1",
            str(life.user_id),
        )
        assert action == "suspend"
        # The daily look doesn't bring it back, the next paid period does.
        await life.look()
        assert (await life.account()).plan == "free"
        await life.step("renew")
        assert (await life.account()).plan == "pro"


@pytest.mark.parametrize(("after", "plan", "live"), [("cancel", "free", 0), ("nothing", "pro", 1)])
async def test_what_a_refund_does_to_the_plan_is_the_operators_choice(
    stack: Stack, payments: Counterpart, sql: Sql, after: AfterRefund, plan: str, live: int
) -> None:
    await sell(payments)
    async with living(stack, payments, sql, after_refund=after) as life:
        await life.step("subscribe pro")
        customer = str((await life.account()).metered_customer)
        await life.release("refund")
        assert (await life.account()).plan == plan
        listed = await life.client.v1.subscriptions.list_async({"customer": customer})
        assert len(listed.data) == live


async def test_refund_of_an_earlier_period_or_a_dispute_that_is_won_ends_nothing(
    stack: Stack, payments: Counterpart, sql: Sql
) -> None:
    await sell(payments)
    async with living(stack, payments, sql) as life:
        await life.step("subscribe pro")
        await life.release("dispute", won=True)
        assert (await life.account()).plan == "pro"
        await life.step("renew")
        await life.release("refund", which=-1)
        assert (await life.account()).plan == "pro"
