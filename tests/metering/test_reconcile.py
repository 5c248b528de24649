"""Ledger and meter, day by day: what agrees is settled, what was parked is resolved or left alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aisaas.billing.metering.outbox import Outbox
from aisaas.billing.metering.reconcile import Reconciliation
from aisaas.db.service import ServiceDatabase
from aisaas.errors import PaymentsError
from tests.metering.provider import READ, Provider

DAY = 86_400


@pytest.fixture
def reconciliation(service: ServiceDatabase, provider: Provider) -> Reconciliation:
    return Reconciliation(service, provider.payments)


def noon(days_ago: int) -> float:
    """Seconds since noon (UTC) of a day."""
    now = datetime.now(UTC)
    then = now.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    return (now - then).total_seconds()


async def delivered(provider: Provider, outbox: Outbox, customer: str) -> None:
    """Everything due is sent, and the meter has had time to show it."""
    await provider.drain([outbox], [customer])
    provider.sql(
        "update usage_outbox set sent_at = now() - interval '2 hours'"
        " where stripe_customer_id = %s and state = 'sent'",
        customer,
    )


def compared(provider: Provider, customer: str) -> list[tuple[object, ...]]:
    """(ledger, pending, meter, drift, settled) of each day, in order."""
    return provider.sql(
        "select ledger_tokens, pending_tokens, meter_tokens, drift, next_check_at is null"
        " from meter_reconciliations where stripe_customer_id = %s and checked_at is not null"
        " order by day",
        customer,
    )


def again(provider: Provider) -> None:
    """The next comparison is due."""
    provider.sql(
        "update meter_reconciliations set next_check_at = now() where checked_at is not null"
        " and next_check_at is not null"
    )


def state(provider: Provider, identifier: str) -> object:
    ((found,),) = provider.sql("select state from usage_outbox where identifier = %s", identifier)
    return found


def may_have_arrived(provider: Provider, identifier: str) -> None:
    """Its sender never recorded the outcome, a day ago."""
    provider.sql(
        "update usage_outbox set state = 'pending', sent_at = null, next_attempt_at = now(),"
        " first_sent_at = now() - interval '24 hours' where identifier = %s",
        identifier,
    )


async def test_days_that_agree_are_settled_and_not_looked_at_again(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [10, 20], age_seconds=noon(3))
    provider.seed(customer, [5], age_seconds=noon(2))
    await delivered(provider, outbox, customer)
    assert await reconciliation.run_once() == 2
    assert compared(provider, customer) == [(30, 0, 30, 0, True), (5, 0, 5, 0, True)]
    assert await reconciliation.run_once() == 0


async def test_day_is_compared_an_hour_after_its_end(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [10], age_seconds=0)
    await delivered(provider, outbox, customer)
    assert await reconciliation.run_once() == 0
    assert provider.sql(
        "select next_check_at = ((day + 1)::timestamp at time zone 'UTC') + interval '1 hour'"
        " from meter_reconciliations where stripe_customer_id = %s",
        customer,
    ) == [(True,)]


async def test_several_processes_compare_a_day_once(
    provider: Provider, outbox: Outbox, service: ServiceDatabase
) -> None:
    customer = await provider.customer()
    for days in range(2, 14):
        provider.seed(customer, [days], age_seconds=noon(days))
    await delivered(provider, outbox, customer)
    several = [Reconciliation(service, provider.payments) for _ in range(3)]
    assert sum(await asyncio.gather(*(each.run_once() for each in several))) == 12
    assert {row[3:] for row in compared(provider, customer)} == {(0, True)}


async def test_row_that_shows_up_late_opens_its_day_again(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [10], age_seconds=noon(2))
    await delivered(provider, outbox, customer)
    await reconciliation.run_once()
    provider.seed(customer, [7], age_seconds=noon(2))
    await delivered(provider, outbox, customer)
    assert await reconciliation.run_once() == 1
    assert compared(provider, customer) == [(17, 0, 17, 0, True)]


async def test_drift_is_kept_and_compared_again(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    (identifier,) = provider.seed(customer, [10], age_seconds=noon(2))
    await delivered(provider, outbox, customer)
    provider.books("update meter_events set value = 4 where identifier = ?", identifier)
    await reconciliation.run_once()
    assert compared(provider, customer) == [(10, 0, 4, -6, False)]
    assert await reconciliation.run_once() == 0
    provider.books("update meter_events set value = 10 where identifier = ?", identifier)
    again(provider)
    assert await reconciliation.run_once() == 1
    assert compared(provider, customer) == [(10, 0, 10, 0, True)]


async def test_drift_of_a_day_too_old_to_be_mended_is_kept_and_let_be(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [10], age_seconds=noon(34))
    await reconciliation.run_once()
    provider.sql(
        "update usage_outbox set event_at = event_at - interval '3 days'"
        " where stripe_customer_id = %s",
        customer,
    )
    await outbox.deliver_due()
    assert provider.states([customer]) == {"dead": 1}
    provider.sql("update meter_reconciliations set day = day - 3, next_check_at = now()")
    await reconciliation.run_once()
    assert compared(provider, customer) == [(10, 0, 0, -10, True)]


async def test_parked_rows_that_the_meter_has_are_sent(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    first, second = provider.seed(customer, [10, 20], age_seconds=noon(2))
    await delivered(provider, outbox, customer)
    may_have_arrived(provider, second)
    provider.forget()
    await outbox.deliver_due()
    assert state(provider, second) == "parked"
    await reconciliation.run_once()
    assert (state(provider, first), state(provider, second)) == ("sent", "sent")
    await delivered(provider, outbox, customer)
    again(provider)
    await reconciliation.run_once()
    assert compared(provider, customer) == [(30, 0, 30, 0, True)]


async def test_parked_rows_that_the_meter_lacks_are_sent_again(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [10], age_seconds=noon(2))
    await delivered(provider, outbox, customer)
    lost, other = provider.seed(customer, [20, 7], age_seconds=noon(2))
    for identifier in (lost, other):
        may_have_arrived(provider, identifier)
    await outbox.deliver_due()
    assert provider.states([customer]) == {"sent": 1, "parked": 2}
    assert await provider.meter([customer]) == 10
    await reconciliation.run_once()
    assert provider.states([customer]) == {"sent": 1, "pending": 2}
    await delivered(provider, outbox, customer)
    again(provider)
    await reconciliation.run_once()
    assert compared(provider, customer) == [(37, 0, 37, 0, True)]
    assert await provider.meter([customer]) == provider.ledger([customer]) == 37


async def test_parked_rows_of_which_the_meter_has_some_are_left_to_an_admin(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    (counted,) = provider.seed(customer, [10], age_seconds=noon(2))
    await delivered(provider, outbox, customer)
    (lost,) = provider.seed(customer, [20], age_seconds=noon(2))
    may_have_arrived(provider, counted)
    may_have_arrived(provider, lost)
    await outbox.deliver_due()
    await reconciliation.run_once()
    assert provider.states([customer]) == {"parked": 2}
    assert compared(provider, customer) == [(30, 30, 10, 10, False)]
    assert (await outbox.health()).parked == 2


async def test_nothing_is_resolved_while_it_could_still_change(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [10], age_seconds=noon(2))
    await provider.drain([outbox], [customer])
    (parked,) = provider.seed(customer, [20], age_seconds=noon(2))
    may_have_arrived(provider, parked)
    await outbox.deliver_due()
    # The first was sent a moment ago: the meter may not show all of it yet.
    await reconciliation.run_once()
    assert state(provider, parked) == "parked"
    await delivered(provider, outbox, customer)
    (flying,) = provider.seed(customer, [20], age_seconds=noon(2))
    provider.age(flying, "first_sent_at", 0)
    provider.sql("update private.metering set paused_until = now() + interval '1 hour'")
    again(provider)
    await reconciliation.run_once()
    assert state(provider, parked) == "parked"


async def test_ledger_that_moves_during_the_call_is_compared_later(
    provider: Provider, outbox: Outbox, service: ServiceDatabase
) -> None:
    customer = await provider.customer()
    (parked,) = provider.seed(customer, [20], age_seconds=noon(2))
    may_have_arrived(provider, parked)
    await outbox.deliver_due()

    class Meanwhile:
        async def reported_usage(self, *of: Any) -> int:
            counted = await provider.payments.reported_usage(*of)
            provider.seed(customer, [20], age_seconds=noon(2))
            return counted

    payments: Any = Meanwhile()
    await Reconciliation(service, payments).run_once()
    assert state(provider, parked) == "parked"
    assert compared(provider, customer) == []


async def test_provider_that_is_away_leaves_the_day_to_later(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [10], age_seconds=noon(2))
    await delivered(provider, outbox, customer)
    await provider.fault("rate_limit", READ)
    with pytest.raises(PaymentsError):
        await reconciliation.run_once()
    assert await reconciliation.run_once() == 0
    provider.sql("update meter_reconciliations set next_check_at = now()")
    assert await reconciliation.run_once() == 1
    assert compared(provider, customer) == [(10, 0, 10, 0, True)]


async def test_customer_that_is_gone_keeps_nobody_from_being_compared(
    provider: Provider, outbox: Outbox, reconciliation: Reconciliation
) -> None:
    gone, here = "cus_that_never_was", await provider.customer()
    provider.seed(gone, [10], age_seconds=noon(3))
    provider.seed(here, [20], age_seconds=noon(2))
    await provider.drain([outbox], [gone, here])
    assert await reconciliation.run_once() == 2
    assert compared(provider, here) == [(20, 0, 20, 0, True)]
    assert compared(provider, gone) == []
    assert await reconciliation.run_once() == 0
