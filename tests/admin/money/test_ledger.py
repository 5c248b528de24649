"""Ledger and meter that differ: found, and corrected once, as far as the provider allows."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from aisaas.billing.metering.outbox import Outbox
from aisaas.errors import ActionInvalid, NotFound
from aisaas.wiring import Services
from tests.admin.money.test_usage import noon, settle
from tests.metering.provider import Provider
from tests.services import Member, new_principal

WHY = "the meter lost some"
AGO = 3


def the_day() -> date:
    return (datetime.now(UTC) - timedelta(days=AGO)).date()


@pytest.fixture
async def customer(provider: Provider, outbox: Outbox) -> str:
    """Of a day with 10 and 20 tokens, sent and shown."""
    made = await provider.customer()
    provider.seed(made, [10, 20], age_seconds=noon(AGO))
    await provider.drain([outbox], [made])
    settle(provider, made)
    return made


def lose(provider: Provider, customer: str, tokens: int) -> None:
    provider.books("delete from meter_events where customer = ? and value = ?", customer, tokens)


def count_besides(provider: Provider, customer: str, tokens: int) -> None:
    """The meter has an event that isn't ours."""
    provider.books(
        "insert into meter_events (identifier, meter, customer, value, timestamp, at, received, state)"
        " select 'not-ours-' || customer, meter, customer, ?, timestamp, at, received, state"
        " from meter_events where customer = ? limit 1",
        tokens,
        customer,
    )


def an_hour_later(provider: Provider, customer: str) -> None:
    settle(provider, customer)
    provider.sql(
        "update meter_reconciliations set corrected_at = corrected_at - interval '2 hours'"
        " where stripe_customer_id = %s",
        customer,
    )


async def test_what_the_meter_lacks_is_sent_once_by_two_admins(
    services: Services, provider: Provider, outbox: Outbox, admin: Member, customer: str
) -> None:
    lose(provider, customer, 10)
    ledger = services.money.ledger
    assert (await ledger.compare(admin.principal, customer, the_day())).drift == -10
    outcomes = await asyncio.gather(
        ledger.correct(admin.principal, customer, the_day(), reason=WHY),
        ledger.correct("operator:tests", customer, the_day(), reason=WHY),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, ActionInvalid) for outcome in outcomes) == 1
    await provider.drain([outbox], [customer])
    an_hour_later(provider, customer)
    compared = await ledger.compare(admin.principal, customer, the_day())
    assert (compared.meter, compared.ledger.total, compared.drift) == (30, 30, 0)


async def test_what_the_meter_has_too_much_is_taken_back_within_a_day(
    services: Services, provider: Provider, outbox: Outbox, admin: Member, customer: str
) -> None:
    count_besides(provider, customer, 6)
    ledger = services.money.ledger
    done = await ledger.correct(admin.principal, customer, the_day(), reason=WHY)
    assert (done.drift, done.remedy) == (6, "cancelled")
    # An event of 10 is gone, and 4 of them go out again.
    await provider.drain([outbox], [customer])
    an_hour_later(provider, customer)
    compared = await ledger.compare(admin.principal, customer, the_day())
    assert (compared.meter, compared.ledger.total, compared.drift) == (30, 30, 0)


async def test_audit_log_says_when_nothing_was_taken_back_after_all(
    services: Services, provider: Provider, admin: Member, customer: str
) -> None:
    """By the provider's clock the event is too old; by ours it wasn't."""
    count_besides(provider, customer, 6)
    provider.books(
        "update meter_events set received = received - 90000 where customer = ?", customer
    )
    done = await services.money.ledger.correct(admin.principal, customer, the_day(), reason=WHY)
    assert (done.drift, done.remedy) == (6, "to_credit")
    lines = provider.sql(
        "select after ? 'refused' from audit_log where subject = %s order by created_at",
        f"meter:{customer}:{the_day()}",
    )
    assert lines == [(False,), (True,)]


async def test_older_surplus_is_to_be_credited_and_then_settled(
    services: Services, provider: Provider, admin: Member, customer: str
) -> None:
    provider.books("update meter_events set value = 16 where customer = ? and value = 10", customer)
    provider.sql(
        "update usage_outbox set first_sent_at = now() - interval '2 days'"
        " where stripe_customer_id = %s",
        customer,
    )
    ledger = services.money.ledger
    done = await ledger.correct(admin.principal, customer, the_day(), reason=WHY)
    assert (done.drift, done.remedy) == (6, "to_credit")
    (shown,) = (await ledger.page(admin.principal, search=customer)).found
    assert (shown.drift, shown.settled) == (6, 0)
    assert await ledger.settle(admin.principal, customer, the_day(), reason="credit note") == 6
    assert not (await ledger.page(admin.principal, search=customer)).found


async def test_days_that_agree_are_left_alone(
    services: Services, admin: Member, customer: str
) -> None:
    with pytest.raises(ActionInvalid):
        await services.money.ledger.correct(admin.principal, customer, the_day(), reason=WHY)


async def test_only_admins_compare_and_correct(services: Services, customer: str) -> None:
    someone, ledger = await new_principal(services), services.money.ledger
    with pytest.raises(NotFound):
        await ledger.health(someone)
    with pytest.raises(NotFound):
        await ledger.correct(someone, customer, the_day(), reason=WHY)
    with pytest.raises(NotFound):
        await ledger.settle(someone, customer, the_day(), reason=WHY)
