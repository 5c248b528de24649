"""What Stripe invoices as extra usage is what the ledger has charged, to the cent, whatever becomes of a
subscription. Generated lives, by the real SDK against the fake, with the real database between them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aisaas.billing.subscriptions.models import AfterRefund
from devstack.stack import Stack
from devstack.tests.payments_client import Counterpart
from tests.metering.life import Life, living, sell
from tests.metering.provider import Sql

STEPS = (
    "subscribe pro",
    "subscribe business",
    "beside pro",
    "beside business",
    "use 90",
    "use 700",
    "use 2500",
    "begin 700",
    "begin 2500",
    "finish",
    "credit 400",
    "switch pro",
    "switch business",
    "keep",
    "cancel",
    "resume",
    "break card",
    "mend card",
    "pay",
    "refund",
    "refund all",
    "give up",
    "wait",
    "renew",
    "renew early",
)


async def _live(
    stack: Stack, payments: Counterpart, sql: Sql, steps: list[str], after_refund: AfterRefund
) -> None:
    await sell(payments)
    async with living(stack, payments, sql, after_refund=after_refund) as life:
        for step in steps:
            await life.step(step)
        await life.end()
        ledger, invoiced = life.ledger(), await life.invoiced()
        charged = {key: usd for key, usd in ledger.items() if usd}
        asked = {key: usd for key, usd in invoiced.items() if usd}
        written_off = life.written_off()
        assert not asked.keys() & written_off.keys(), life.did
        assert charged == asked | written_off, life.did
        assert set(written_off) <= await _given_up(life), life.did
        for key, usd in life.spent().items():
            assert usd <= 20, (key, life.did)
        ((given, taken),) = sql(
            "select (select coalesce(sum(tokens), 0) from credit_grants where user_id = %s),"
            " (select coalesce(sum(credit_tokens), 0) from usage_records where user_id = %s)",
            life.user_id,
            life.user_id,
        )
        assert int(str(taken)) <= int(str(given)), life.did


async def _given_up(life: Life) -> set[str]:
    """Periods in which a subscription was given up because nobody paid: Stripe writes no invoice then."""
    customer = (await life.account()).metered_customer
    if customer is None:
        return set()
    page = await life.client.v1.subscriptions.list_async({"customer": customer, "status": "all"})
    return {
        f"{each.id}:{each['items'].data[0].current_period_start}"
        for each in page.data
        if each.cancellation_details and each.cancellation_details.reason == "payment_failed"
    }


# Most lives begin with a subscription: else there is nothing to invoice.
LIVES = st.tuples(
    st.sampled_from(["subscribe pro", "subscribe business"]),
    st.lists(st.sampled_from(STEPS), min_size=4, max_size=12),
).map(lambda life: [life[0], *life[1]])


@pytest.mark.parametrize(
    ("steps", "after_refund"),
    [
        ("subscribe pro, use 2500, switch business, use 2500, use 2500, renew", "suspend"),
        ("subscribe pro, use 700, wait, switch business, use 2500, switch pro, renew", "suspend"),
        ("subscribe pro, use 700, beside business, use 2500, beside pro, use 700", "suspend"),
        ("subscribe business, use 700, renew, use 2500, use 2500, cancel, renew", "suspend"),
        ("subscribe business, renew, switch pro, keep, switch pro, renew, use 2500", "suspend"),
        ("subscribe pro, use 2500, break card, renew, use 700, mend card, pay, renew", "suspend"),
        (
            "subscribe pro, use 700, begin 2500, switch business, begin 2500, finish, use 2500",
            "suspend",
        ),
        ("subscribe business, use 2500, begin 2500, switch pro, begin 2500, renew", "suspend"),
        ("subscribe pro, use 2500, begin 700, refund all, finish, use 700, renew", "suspend"),
        (
            "subscribe pro, use 2500, begin 700, refund all, finish, subscribe pro, use 2500",
            "cancel",
        ),
        (
            "subscribe pro, credit 400, use 2500, credit 400, begin 700, switch business, use 700",
            "suspend",
        ),
        (
            "subscribe pro, break card, renew early, use 2500, give up, subscribe pro, use 2500",
            "suspend",
        ),
    ],
)
def test_lives_that_change_while_usage_is_billed(
    stack: Stack, payments: Counterpart, sql: Sql, steps: str, after_refund: AfterRefund
) -> None:
    asyncio.run(_live(stack, payments, sql, steps.split(", "), after_refund))


@given(LIVES, st.sampled_from(["suspend", "cancel"]))
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_invoices_say_what_the_ledger_has_charged(
    stack: Stack, payments: Counterpart, sql: Sql, steps: list[str], after_refund: AfterRefund
) -> None:
    asyncio.run(_live(stack, payments, sql, steps, after_refund))
