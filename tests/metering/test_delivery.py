"""From the outbox to the meter: everything once, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aisaas.adapters import stripe_client
from aisaas.adapters.stripe_payments import StripePayments
from aisaas.billing.metering import outbox as outbox_module
from aisaas.billing.metering import outbox_store
from aisaas.billing.metering.outbox import Outbox
from aisaas.billing.ports import MeterEvent, Payments
from aisaas.db.service import ServiceDatabase
from tests.metering.provider import Provider, Watched, sender


async def test_usage_reaches_the_meter_once(provider: Provider, outbox: Outbox) -> None:
    customers = await provider.customers(3)
    provider.seed_many(customers, 10)
    await outbox.deliver_due()
    assert provider.states(customers) == {"sent": 30}
    assert await provider.meter(customers) == provider.ledger(customers)
    await outbox.deliver_due()
    assert await provider.meter(customers) == provider.ledger(customers)
    unsent = provider.sql(
        "select count(*) from usage_outbox where stripe_customer_id = any(%s)"
        " and (sent_at is null or claim is not null or first_sent_at is null)",
        customers,
    )
    assert unsent == [(0,)]


async def test_failures_and_lost_answers_lose_nothing_and_count_nothing_twice(
    provider: Provider, service: ServiceDatabase
) -> None:
    customers = await provider.customers(12)
    provider.seed_many(customers, 12)
    for kind, when in (
        ("lost_answer", "after"),
        ("conflict", "before"),
        ("rate_limit", "before"),
        ("server_error", "before"),
        ("server_error", "after"),
        ("delay", "before"),
    ):
        await provider.fault(kind, times=None, probability=0.06, seconds=0.05, before_or_after=when)
    await provider.fault("timeout", times=5, probability=0.1, seconds=0.1)
    await provider.drain([sender(service, provider.payments) for _ in range(3)], customers)
    await provider.no_faults()
    assert provider.states(customers) == {"sent": 144}
    assert await provider.meter(customers) == provider.ledger(customers)
    ((tries,),) = provider.sql(
        "select sum(attempts) from usage_outbox where stripe_customer_id = any(%s)", customers
    )
    assert int(str(tries)) > 144


async def test_a_customer_has_one_call_in_flight_over_all_senders(
    provider: Provider, service: ServiceDatabase
) -> None:
    customers = await provider.customers(4)
    provider.seed_many(customers, 15)
    await provider.fault("delay", times=None, seconds=0.02)
    flying: dict[str, int] = {}
    watched = [Watched(provider.payments, flying) for _ in range(3)]
    await asyncio.gather(*(sender(service, each).deliver_due() for each in watched))
    await provider.drain([sender(service, provider.payments)], customers)
    assert max(each.most_of_one for each in watched) == 1
    assert max(each.most for each in watched) > 1
    assert await provider.meter(customers) == provider.ledger(customers)


async def test_a_customer_with_many_rows_keeps_nobody_waiting(
    provider: Provider, service: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "CONCURRENCY", 2)
    customers = sorted(await provider.customers(6))
    for customer in customers:
        provider.seed(customer, [1] * (100 if customer in customers[:2] else 1))
    order: list[str] = []

    class Ordered(Watched):
        async def report_usage(self, event: object) -> bool:
            order.append(event.customer_id)  # type: ignore[attr-defined]
            if len(order) >= 20:
                busy.stop()
            return await super().report_usage(event)  # type: ignore[arg-type]

    busy = sender(service, Ordered(provider.payments, {}))
    await busy.deliver_due()
    assert set(order) == set(customers)


async def test_answer_that_never_comes_is_asked_for_again(
    provider: Provider, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_client, "CALL_SECONDS", 0.3)
    customer = await provider.customer()
    provider.seed(customer, [70])
    await provider.fault("delay", seconds=1.0, before_or_after="after")
    await outbox.deliver_due()
    assert provider.sql(
        "select state, last_error, first_sent_at is null from usage_outbox"
        " where stripe_customer_id = %s",
        customer,
    ) == [("pending", "timeout", False)]
    await asyncio.sleep(0.8)
    await provider.drain([outbox], [customer])
    assert await provider.meter([customer]) == 70


async def test_after_an_answered_failure_it_is_asked_as_if_anew(
    provider: Provider, outbox: Outbox
) -> None:
    """The provider would repeat its answer to the same key for a day."""
    customer = await provider.customer()
    (identifier,) = provider.seed(customer, [70])
    await provider.fault("server_error")
    await provider.drain([outbox], [customer])
    assert provider.books("select count(*) from answers where key = ?", f"{identifier}.1") == [(1,)]
    assert await provider.meter([customer]) == 70


async def test_after_a_lost_answer_the_key_is_the_same(provider: Provider, outbox: Outbox) -> None:
    customer = await provider.customer()
    (identifier,) = provider.seed(customer, [70])
    await provider.fault("lost_answer")
    await provider.drain([outbox], [customer])
    keys = provider.books("select key from answers where key like ?", f"{identifier}%")
    assert keys == [(identifier,)]
    assert await provider.meter([customer]) == 70


async def test_too_many_requests_slow_all_senders(
    provider: Provider, outbox: Outbox, service: ServiceDatabase
) -> None:
    first, second = await provider.customers(2)
    provider.seed(first, [1])
    await provider.fault("rate_limit")
    await outbox.deliver_due()
    provider.seed(second, [1])
    ((paused,),) = provider.sql("select paused_until > now() from private.metering")
    assert paused is True
    await service.ask(outbox_store.pause(60))
    await sender(service, provider.payments).deliver_due()
    assert provider.states([second]) == {"pending": 1}
    await provider.drain([outbox], [first, second])
    assert await provider.meter([first, second]) == 2


async def test_provider_that_is_away_costs_no_row_its_safety(
    provider: Provider, outbox: Outbox, service: ServiceDatabase
) -> None:
    """What surely was not sent is sent two days later as if nothing had been."""
    customers = await provider.customers(2)
    provider.seed_many(customers, 3)
    nobody = StripePayments("sk_test_nobody", api_base="http://127.0.0.1:9")
    for _ in range(3):
        provider.hurry()
        await sender(service, nobody).deliver_due()
    await nobody.close()
    assert provider.sql(
        "select count(*), sum(attempts) > 0 from usage_outbox where stripe_customer_id = any(%s)"
        " and state = 'pending' and first_sent_at is null and last_error = 'unreachable'",
        customers,
    ) == [(6, True)]
    provider.sql(
        "update usage_outbox set created_at = now() - interval '2 days',"
        " event_at = now() - interval '2 days' where stripe_customer_id = any(%s)",
        customers,
    )
    await provider.drain([outbox], customers)
    assert provider.states(customers) == {"sent": 6}
    assert await provider.meter(customers) == provider.ledger(customers)


async def test_many_failures_in_a_row_give_the_provider_a_rest(
    provider: Provider, service: ServiceDatabase
) -> None:
    customers = await provider.customers(8)
    provider.seed_many(customers, 5)
    await provider.fault("server_error", times=None)
    await sender(service, provider.payments).deliver_due()
    ((tries,),) = provider.sql(
        "select sum(attempts)::int from usage_outbox where stripe_customer_id = any(%s)", customers
    )
    assert 5 <= int(str(tries)) < 20
    assert provider.sql("select paused_until > now() from private.metering") == [(True,)]


async def test_key_that_is_not_taken_kills_no_row(
    provider: Provider, service: ServiceDatabase, outbox: Outbox
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [70])
    revoked = StripePayments("sk_test_revoked", api_base=provider.counterpart.url)
    await sender(service, revoked).deliver_due()
    await revoked.close()
    assert provider.sql(
        "select state, last_error, first_sent_at is null from usage_outbox"
        " where stripe_customer_id = %s",
        customer,
    ) == [("pending", "not_allowed", True)]
    await provider.drain([outbox], [customer])
    assert await provider.meter([customer]) == 70


async def test_refused_row_is_a_dead_letter_and_holds_up_no_other(
    provider: Provider, outbox: Outbox
) -> None:
    customer = await provider.customer()
    (bad,) = provider.seed(customer, [10**17], age_seconds=120)
    provider.seed(customer, [5, 6])
    await outbox.deliver_due()
    assert provider.states([customer]) == {"sent": 2, "dead": 1}
    ((error,),) = provider.sql("select last_error from usage_outbox where identifier = %s", bad)
    assert "whole number" in str(error)
    assert await provider.meter([customer]) == 11
    provider.hurry()
    await outbox.deliver_due()
    assert provider.states([customer]) == {"sent": 2, "dead": 1}


async def test_row_too_old_for_the_meter_is_dead_and_says_so(
    provider: Provider, outbox: Outbox
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [7], age_seconds=35 * 86400 + 60)
    provider.seed(customer, [8], age_seconds=35 * 86400 - 3600)
    await outbox.deliver_due()
    assert provider.sql(
        "select tokens, state, last_error, attempts from usage_outbox"
        " where stripe_customer_id = %s order by tokens",
        customer,
    ) == [(7, "dead", "too old for the meter", 0), (8, "sent", None, 1)]


async def test_row_that_may_have_arrived_a_day_ago_is_parked_and_not_sent(
    provider: Provider, outbox: Outbox
) -> None:
    customer = await provider.customer()
    old, young = provider.seed(customer, [7, 8])
    provider.age(old, "first_sent_at", 23.1)
    provider.age(young, "first_sent_at", 22.9)
    await outbox.deliver_due()

    def state(identifier: str) -> object:
        return provider.sql("select state from usage_outbox where identifier = %s", identifier)

    assert state(old) == [("parked",)]
    assert state(young) == [("sent",)]
    assert await provider.meter([customer]) == 8


async def test_process_that_was_held_up_does_not_send(
    provider: Provider, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [7])
    monkeypatch.setattr(outbox_module, "SEND_WITHIN_SECONDS", -1.0)
    await outbox.deliver_due()
    assert provider.states([customer]) == {"pending": 1}
    assert await provider.meter([customer]) == 0
    monkeypatch.undo()
    provider.hurry()
    await provider.drain([outbox], [customer])
    assert await provider.meter([customer]) == 7


async def test_calls_are_spaced_over_all_senders(
    provider: Provider, service: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = await provider.customers(4)
    provider.seed_many(customers, 1)
    monkeypatch.setattr(outbox_store, "CALLS_PER_SECOND", 0.1)
    monkeypatch.setattr(outbox_store, "BURST_SECONDS", 20.0)
    senders = [sender(service, provider.payments) for _ in range(3)]
    await asyncio.gather(*(each.deliver_due() for each in senders))
    assert provider.states(customers) == {"pending": 2, "sent": 2}


async def test_stopped_sender_finishes_its_calls_and_claims_no_more(
    provider: Provider, service: ServiceDatabase
) -> None:
    customers = await provider.customers(12)
    provider.seed_many(customers, 2)
    await provider.fault("delay", times=None, seconds=0.1)
    watched = Watched(provider.payments, {})
    stopped = sender(service, watched)
    delivery = asyncio.create_task(stopped.deliver_due())
    while watched.most == 0:
        await asyncio.sleep(0.005)
    stopped.stop()
    await delivery
    states = provider.states(customers)
    assert 0 < states["sent"] <= outbox_module.CONCURRENCY
    assert provider.sql("select count(*) from usage_outbox where claim is not null") == [(0,)]


async def test_late_usage_is_reported(
    provider: Provider, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    customer = await provider.customer()
    provider.seed(customer, [1, 1], age_seconds=60)
    before = await outbox.health()
    assert (before.pending, before.parked, before.late) == (2, 0, False)
    (late,) = provider.seed(customer, [1], age_seconds=16 * 60)
    provider.age(late, "first_sent_at", 25)
    await outbox.deliver_due()
    provider.seed(customer, [1], age_seconds=16 * 60)
    health = await outbox.health()
    assert (health.parked, health.late) == (1, True)
    with caplog.at_level(logging.WARNING):
        await outbox.warn_if_late()
        await outbox.warn_if_late()
    assert caplog.text.count("usage is late for the meter") == 2
    # The admins are mailed once a day.
    ((values,),) = provider.sql("select values from billing_notices where kind = 'metering_late'")
    assert isinstance(values, dict)
    assert (values["pending"], values["parked"]) == (health.pending, 1)
    assert values["minutes"] >= 16


class Surprising:
    """A provider's client that chokes on one customer's usage."""

    def __init__(self, real: Payments, poisoned: str) -> None:
        self._real = real
        self.poisoned = poisoned

    async def report_usage(self, event: MeterEvent) -> bool:
        if event.customer_id == self.poisoned:
            raise UnicodeEncodeError("ascii", "x", 0, 1, "no")
        return await self._real.report_usage(event)


async def test_row_that_surprises_each_time_waits_longer_and_is_parked_in_the_end(
    provider: Provider, service: ServiceDatabase
) -> None:
    poisoned, good = await provider.customers(2)
    provider.seed_many([poisoned, good], 1)
    client = Surprising(provider.payments, poisoned)
    outbox = sender(service, client)
    await outbox.deliver_due()
    assert provider.states([good]) == {"sent": 1}
    row = (
        "select state, attempts, last_error, claim is null, next_attempt_at > now()"
        " from usage_outbox where stripe_customer_id = %s"
    )
    assert provider.sql(row, poisoned) == [("pending", 1, "UnicodeEncodeError", True, True)]
    for _ in range(1, outbox_module.SURPRISES):
        provider.hurry_backoff()
        await outbox.deliver_due()
    ((state, attempts, error, *_),) = provider.sql(row, poisoned)
    assert (state, attempts, error) == ("parked", outbox_module.SURPRISES, "UnicodeEncodeError")
