"""What events lead to, once, whenever they come and whatever is away meanwhile."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from aisaas import overload
from aisaas.adapters.redis_client import make_listening_redis, make_redis
from aisaas.adapters.redis_signals import RedisSignals
from aisaas.billing.ports import MeterProblem, PaidSubscription, PaymentEvent
from aisaas.billing.reservations.quota import book
from aisaas.billing.subscriptions import events as events_module
from aisaas.billing.subscriptions import subscriptions as subscriptions_module
from aisaas.billing.subscriptions.events import HANDLERS
from aisaas.billing.subscriptions.subscriptions import BILLING_CHANGED
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.errors import DependencyError, Overloaded, PaymentsError, PaymentsRefused
from aisaas.observe.outages import Outages
from childprocess.ports import free_port
from tests.billing.conftest import Billing, Sql, charge, claim
from tests.billing.provider import DAY, event, new_subscription, this_second
from tests.billing.webhooks import GRACE, Shop, iso, new_customer

UPDATED = "customer.subscription.updated"
DELETED = "customer.subscription.deleted"


@pytest.fixture
def shop(billing: Billing, sql: Sql, signals: RedisSignals) -> Shop:
    return Shop(billing.service, sql, signals)


def invoice(kind: str, of: PaidSubscription, **fields: object) -> PaymentEvent:
    payload = {
        "id": f"in_{of.id}",
        "attempt_count": 1,
        "amount_due": 2000,
        "currency": "usd",
        "hosted_invoice_url": "https://invoice.example.com/1",
    }
    return event(f"invoice.{kind}", of, payload=payload | fields)


# What is written


async def test_subscription_becomes_a_plan_with_its_period(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event("customer.subscription.created", sold))
    assert shop.profile(user_id) == (
        *("pro", "active", sold.id, sold.customer_id),
        *(sold.period_start, sold.period_end, None),
    )


async def test_event_is_a_hint_and_what_it_carries_is_not_believed(shop: Shop) -> None:
    user_id, sold = shop.subscriber(status="unpaid")
    lying = event(UPDATED, sold, payload={"id": sold.id, "status": "active"})
    await shop.deliver(lying)
    assert shop.plan(user_id) == ("free", "past_due")


async def test_checkout_tells_whose_customer_it_is_when_nobody_else_does(shop: Shop) -> None:
    user_id, customer = shop.user(), new_customer()
    sold = shop.provider.put(new_subscription(None, customer, status="trialing"))
    early = event("customer.subscription.created", sold)
    await shop.deliver(early)
    assert (shop.outcome(early), shop.profile(user_id).plan) == ("unknown_customer", "free")
    await shop.deliver(event("checkout.session.completed", sold, user_id=user_id))
    assert shop.plan(user_id) == ("pro", "trialing")
    assert shop.profile(user_id).customer_id == customer


async def test_checkout_never_takes_a_customer_from_its_owner(shop: Shop) -> None:
    owner, sold = shop.subscriber()
    somebody_else = shop.user()
    await shop.deliver(event("checkout.session.completed", sold, user_id=somebody_else))
    assert shop.plan(owner) == ("pro", "active")
    assert shop.profile(somebody_else)[:4] == ("free", "free", None, None)


async def test_cancelled_subscription_keeps_its_plan_until_its_announced_end(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    shop.provider.change(sold, cancel_at=sold.period_end)
    await shop.deliver(event(UPDATED, sold))
    assert shop.plan(user_id) == ("pro", "active")
    assert shop.profile(user_id).ends_at == sold.period_end
    shop.provider.change(sold, cancel_at=None)
    await shop.deliver(event(UPDATED, sold))
    assert shop.profile(user_id).ends_at is None


async def test_late_end_of_an_old_subscription_takes_nothing_from_a_new_one(shop: Shop) -> None:
    user_id, old = shop.subscriber()
    await shop.deliver(event(UPDATED, old))
    shop.provider.change(old, status="canceled")
    new = shop.provider.put(new_subscription(user_id, old.customer_id, plan="business"))
    await shop.deliver(event("customer.subscription.created", new), event(DELETED, old))
    assert shop.plan(user_id) == ("business", "active")
    assert shop.stored(user_id) == {old.id: "canceled", new.id: "active"}


async def test_subscription_that_has_ended_never_comes_back(shop: Shop) -> None:
    user_id, sold = shop.subscriber(status="canceled")
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, status="active")
    late = event(UPDATED, sold)
    await shop.deliver(late)
    assert (shop.outcome(late), shop.plan(user_id)) == ("stale", ("free", "cancelled"))


async def test_ended_subscription_stays_ended_whichever_process_writes_it(shop: Shop) -> None:
    user_id, sold = shop.subscriber(status="canceled")
    await shop.deliver(event(UPDATED, sold))
    async with shop.service.transaction() as session:
        await events_module.store.put(session, user_id, replace(sold, status="active"))
    assert shop.stored(user_id) == {sold.id: "canceled"}


async def test_two_subscriptions_at_once_are_both_counted(shop: Shop) -> None:
    for _ in range(5):
        user_id, sold = shop.subscriber()
        other = shop.provider.put(new_subscription(user_id, sold.customer_id, plan="business"))
        await asyncio.gather(
            shop.deliver(event(UPDATED, sold)), shop.another().deliver(event(UPDATED, other))
        )
        assert shop.profile(user_id).plan == "business"


async def test_second_subscription_under_another_customer_counts_for_its_user(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    other = shop.provider.put(new_subscription(user_id, new_customer(), plan="business"))
    await shop.deliver(event(UPDATED, sold), event(UPDATED, other))
    assert shop.plan(user_id) == ("business", "active")
    # Usage goes to the meter of the customer who pays for the plan.
    assert shop.profile(user_id).customer_id == other.customer_id
    shop.provider.change(other, status="canceled")
    await shop.deliver(event(DELETED, other), event(UPDATED, sold))
    assert shop.profile(user_id)[:4] == ("pro", "active", sold.id, sold.customer_id)


# Once


async def test_twenty_deliveries_of_one_event_at_once_act_once(shop: Shop) -> None:
    user_id, sold = shop.subscriber(status="past_due")
    failed = invoice("payment_failed", sold)
    processes = [shop.another() for _ in range(4)]
    await asyncio.gather(*(processes[n % 4].deliver(failed) for n in range(20)))
    assert shop.provider.looks == [sold.id]
    assert len(shop.notices(user_id)) == 1
    assert shop.outcome(failed) == "done"


async def test_one_invoice_under_two_event_ids_is_mailed_once(shop: Shop) -> None:
    user_id, sold = shop.subscriber(status="past_due")
    await shop.deliver(invoice("payment_failed", sold), invoice("payment_failed", sold))
    assert len(shop.notices(user_id)) == 1
    await shop.deliver(invoice("payment_failed", sold, attempt_count=2))
    assert len(shop.notices(user_id)) == 2


async def test_payment_reported_by_two_types_of_event_changes_nothing_twice(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(invoice("paid", sold))
    once = shop.profile(user_id), shop.stored(user_id)
    await shop.deliver(invoice("payment_succeeded", sold))
    assert (shop.profile(user_id), shop.stored(user_id)) == once


# While something changes


async def test_older_look_never_overwrites_a_newer_one(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    looked, go_on = asyncio.Event(), asyncio.Event()

    async def held() -> None:
        looked.set()
        await go_on.wait()

    shop.provider.on_its_way = held
    first = asyncio.create_task(shop.deliver(event("customer.subscription.created", sold)))
    await looked.wait()
    # The answer with the old state is on its way when the state changes.
    shop.provider.on_its_way = None
    shop.provider.change(sold, status="canceled")
    second = asyncio.create_task(shop.another().deliver(event(DELETED, sold)))
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    async with asyncio.timeout(30):
        while shop.sql(waiting) == [(0,)]:
            await asyncio.sleep(0.02)
    assert shop.provider.looks == [sold.id]
    go_on.set()
    await asyncio.gather(first, second)
    assert shop.provider.looks == [sold.id] * 2
    assert shop.plan(user_id) == ("free", "cancelled")


async def test_deliveries_at_once_while_it_changes_end_in_the_last_state(shop: Shop) -> None:
    user_id, sold = shop.subscriber()

    async def some_time() -> None:
        await asyncio.sleep(0.01)

    shop.provider.on_its_way = some_time
    deliveries: list[asyncio.Task[None]] = []
    for n in range(12):
        shop.provider.change(
            sold, plan=("pro", "business")[n % 2], trial_end=this_second() + n * DAY
        )
        process = shop.another()
        deliveries.append(asyncio.create_task(process.deliver(event(UPDATED, sold))))
        await asyncio.sleep(0.004)
    await asyncio.gather(*deliveries)
    last = shop.provider.has[sold.id]
    assert shop.sql("select plan, trial_end from subscriptions where id = %s", sold.id) == [
        (last.plan, last.trial_end)
    ]
    assert shop.profile(user_id).plan == last.plan == "business"


# When the provider or the database is away


async def test_failed_delivery_leaves_nothing_and_the_next_one_does_it_all(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    failing = event(UPDATED, sold)
    shop.provider.fail("server")
    for attempts in (1, 2):
        with pytest.raises(PaymentsError):
            await shop.deliver(failing)
        assert shop.outcome(failing) is None
        assert shop.failure(failing) == (attempts, "payments:server", False)
    assert (shop.plan(user_id), shop.stored(user_id)) == (("free", "free"), {})
    shop.provider.away = None
    await shop.deliver(failing)
    assert shop.plan(user_id) == ("pro", "active")
    assert (shop.outcome(failing), shop.failure(failing)) == ("done", (2, "payments:server", True))


async def test_refusal_of_the_provider_is_noted_by_its_code(shop: Shop) -> None:
    _, sold = shop.subscriber()
    failing = event(UPDATED, sold)
    shop.provider.away = PaymentsRefused("api_key_expired", "sk_test_secret has expired")
    with pytest.raises(PaymentsRefused):
        await shop.deliver(failing)
    assert shop.failure(failing) == (1, "payments_refused:api_key_expired", False)


async def test_provider_that_hangs_is_given_up_before_the_transaction_is(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions_module, "LOOK_SECONDS", 0.05)
    _, sold = shop.subscriber()
    shop.provider.on_its_way = asyncio.Event().wait  # pyright: ignore[reportAttributeAccessIssue]
    failing = event(UPDATED, sold)
    with pytest.raises(PaymentsError):
        await shop.deliver(failing)
    assert shop.failure(failing) == (1, "payments:timeout", False)


async def test_failure_that_another_delivery_made_good_meanwhile_is_resolved(shop: Shop) -> None:
    _, sold = shop.subscriber()
    updated = event(UPDATED, sold)
    await shop.deliver(updated)
    async with shop.service.transaction() as session:
        await events_module.store.add_failure(session, updated.id, updated.type, "database")
    assert shop.failure(updated) == (1, "database", True)


async def test_without_a_database_the_delivery_fails_and_says_so(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    _, sold = shop.subscriber()
    login = DatabasePool(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    nowhere = Shop(ServiceDatabase(login), shop.sql, shop.signals, shop.provider)
    with pytest.raises(DependencyError):
        await nowhere.deliver(event(UPDATED, sold))
    await login.close()
    assert "could not be noted" in caplog.text
    assert shop.provider.looks == []


async def test_lost_signal_is_no_failure(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    user_id, sold = shop.subscriber()
    url = f"redis://127.0.0.1:{free_port()}/0"
    redis, listening = make_redis(url), make_listening_redis(url, block_seconds=1)
    deaf = Shop(
        shop.service, shop.sql, RedisSignals(redis, listening, prefix="tests"), shop.provider
    )
    updated = event(UPDATED, sold)
    await deaf.deliver(updated)
    await redis.aclose()
    await listening.aclose()
    assert (shop.plan(user_id), shop.failure(updated)) == (("pro", "active"), None)
    assert "tabs were not told" in caplog.text


async def test_tabs_are_notified_after_the_commit_with_nothing_but_the_users_id(shop: Shop) -> None:
    user_id, sold = shop.subscriber()

    async def first() -> tuple[str, tuple[object, object]]:
        async for subject in shop.signals.receive(BILLING_CHANGED):
            return subject, shop.plan(UUID(subject))
        raise AssertionError

    heard = asyncio.create_task(first())
    updated = event(UPDATED, sold)
    await shop.deliver(updated)
    async with asyncio.timeout(60):
        # What was sent before anybody listened is lost.
        while not heard.done():
            await shop.subscriptions.tell(user_id)
            await asyncio.sleep(0.05)
    assert await heard == (str(user_id), ("pro", "active"))


async def test_deliveries_wait_for_each_other_and_not_for_long(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An outage of another test may not be over yet.
    monkeypatch.setattr(overload, "OUTAGES", Outages())
    monkeypatch.setattr(overload, "WAIT_SECONDS", 0.05)
    people = [shop.subscriber() for _ in range(events_module.AT_ONCE)]
    go_on = asyncio.Event()

    async def held() -> None:
        await go_on.wait()

    shop.provider.on_its_way = held
    held_up = [asyncio.create_task(shop.deliver(event(UPDATED, sold))) for _, sold in people]
    async with asyncio.timeout(60):
        while len(shop.provider.looks) < len(people):
            await asyncio.sleep(0.01)
    one_more = event(UPDATED, people[0][1])
    with pytest.raises(Overloaded):
        await shop.deliver(one_more)
    # It isn't a failure that admins have to look at.
    assert shop.failure(one_more) is None
    go_on.set()
    await asyncio.gather(*held_up)
    await shop.deliver(one_more)
    assert [shop.plan(user_id) for user_id, _ in people] == [("pro", "active")] * len(people)


# What the provider doesn't show, and who nobody knows


async def test_end_of_a_subscription_that_is_not_shown_any_more_is_believed(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.forget(sold)
    await shop.deliver(event(DELETED, sold))
    assert shop.plan(user_id) == ("free", "cancelled")


async def test_anything_else_about_a_subscription_that_is_not_shown_changes_nothing(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    before = shop.profile(user_id)
    shop.provider.forget(sold)
    strange = event("customer.subscription.paused", sold)
    await shop.deliver(strange)
    await shop.subscriptions.synchronise_customer(sold.customer_id)
    assert (shop.outcome(strange), shop.profile(user_id)) == ("stale", before)
    assert any(record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("kind", sorted(HANDLERS))
async def test_event_of_an_unknown_customer_harms_nothing(shop: Shop, kind: str) -> None:
    sold = shop.provider.put(new_subscription(uuid4(), new_customer()))
    count = "select (select count(*) from subscriptions), (select count(*) from billing_notices)"
    before = shop.sql(count)
    strange = event(kind, sold)
    await shop.deliver(strange)
    assert (shop.outcome(strange), shop.sql(count)) == ("unknown_customer", before)


@pytest.mark.parametrize("kind", ["product.created", "invoice.finalized", "", "checkout.session"])
async def test_event_of_another_type_is_noted_and_nothing_else(shop: Shop, kind: str) -> None:
    _, sold = shop.subscriber()
    other = event(kind, sold)
    await shop.deliver(other, other)
    assert (shop.outcome(other), shop.provider.looks) == ("ignored", [])


@pytest.mark.parametrize("kind", sorted(set(HANDLERS) - {"charge.dispute.created"}))
async def test_event_that_names_nothing_is_survived(shop: Shop, kind: str) -> None:
    empty = event(kind)
    await shop.deliver(empty)
    assert shop.outcome(empty) in {"ignored", "done"}
    assert shop.provider.looks == []


async def test_deleted_customer_is_unlinked_and_what_they_used_stays_in_the_ledger(
    shop: Shop, billing: Billing
) -> None:
    user_id, sold = shop.subscriber()
    _, other = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    quota = billing.quota()
    for customer in (sold.customer_id, other.customer_id):
        wanted = claim(user_id, limit=0, overage=10_000)
        await quota.reserve(wanted)
        async with shop.service.transaction() as session:
            await book(session, charge(wanted, 100, customer=customer))
    deleted = event("customer.deleted", customer_id=sold.customer_id)
    await shop.deliver(deleted)
    assert shop.outcome(deleted) == "done"
    assert shop.profile(user_id)[:4] == ("free", "cancelled", None, None)
    assert shop.stored(user_id) == {sold.id: "canceled"}
    outbox = "select stripe_customer_id, state, last_error from usage_outbox where user_id = %s"
    assert sorted(shop.sql(outbox, user_id)) == sorted(
        [(sold.customer_id, "dead", "customer_deleted"), (other.customer_id, "pending", None)]
    )
    assert shop.sql("select count(*) from usage_records where user_id = %s", user_id) == [(2,)]
    # Whatever comes late of that customer brings nothing back.
    await shop.deliver(event("checkout.session.completed", sold, user_id=user_id))
    assert shop.profile(user_id)[:4] == ("free", "cancelled", None, None)


# What is to be mailed


async def test_failed_payment_says_until_when_the_plan_goes_on(shop: Shop) -> None:
    since = this_second() - DAY
    user_id, sold = shop.subscriber(status="past_due", unpaid_since=since)
    await shop.deliver(invoice("payment_failed", sold))
    assert shop.notices(user_id) == [
        (
            "payment_failed",
            {
                "subscription": sold.id,
                "invoice": f"in_{sold.id}",
                "url": "https://invoice.example.com/1",
                "amount": 2000,
                "currency": "usd",
                "plan": "pro",
                "until": iso(since + GRACE),
                "page": "/billing",
            },
        )
    ]
    assert shop.profile(user_id).ends_at == since + GRACE


async def test_payment_that_was_made_good_meanwhile_is_no_mail(shop: Shop) -> None:
    user_id, sold = shop.subscriber(status="active")
    await shop.deliver(invoice("payment_failed", sold), invoice("payment_action_required", sold))
    assert shop.notices(user_id) == []


async def test_payment_to_be_confirmed_is_mailed_with_the_invoices_page(shop: Shop) -> None:
    user_id, sold = shop.subscriber(status="past_due")
    await shop.deliver(invoice("payment_action_required", sold))
    ((kind, values),) = shop.notices(user_id)
    assert kind == "payment_action_required"
    assert isinstance(values, dict)
    assert values["url"] == "https://invoice.example.com/1"


async def test_end_of_a_trial_is_announced_once_and_only_to_whom_it_costs(shop: Shop) -> None:
    ends = this_second() + 3 * DAY
    kind = "customer.subscription.trial_will_end"
    user_id, sold = shop.subscriber(status="trialing", trial_end=ends)
    await shop.deliver(event(kind, sold), event(kind, sold))
    assert shop.notices(user_id) == [
        ("trial_will_end", {"subscription": sold.id, "plan": "pro", "trial_end": iso(ends)})
    ]
    leaving_user, leaving = shop.subscriber(status="trialing", trial_end=ends, cancel_at=ends)
    await shop.deliver(event(kind, leaving))
    assert shop.notices(leaving_user) == []


async def test_end_of_a_subscription_is_mailed_once_whichever_process_notices_it(
    shop: Shop,
) -> None:
    user_id, sold = shop.subscriber()
    await shop.deliver(event(UPDATED, sold))
    shop.provider.change(sold, status="canceled")
    await shop.subscriptions.synchronise_customer(sold.customer_id)
    await shop.deliver(event(DELETED, sold), event(DELETED, sold))
    assert shop.notices(user_id) == [
        ("subscription_ended", {"subscription": sold.id, "plan": "pro"})
    ]


async def test_ends_of_long_ago_that_nobody_knew_of_are_not_mailed(shop: Shop) -> None:
    user_id, sold = shop.subscriber(status="canceled")
    await shop.subscriptions.synchronise_customer(sold.customer_id)
    assert shop.stored(user_id) == {sold.id: "canceled"}
    assert shop.notices(user_id) == []


async def test_price_of_no_plan_grants_nothing_and_the_admins_are_notified(shop: Shop) -> None:
    user_id, sold = shop.subscriber(plan=None, price_id="price_odd")
    first, second = event(UPDATED, sold), event(UPDATED, sold)
    await shop.deliver(first, second)
    assert shop.plan(user_id) == ("free", "free")
    assert [shop.outcome(first), shop.outcome(second)] == ["unknown_price"] * 2
    ((kind, values),) = shop.admin_notices(sold.id)
    assert kind == "unknown_price"
    assert isinstance(values, dict)
    assert (values["user_id"], values["price"]) == (str(user_id), "price_odd")


async def test_money_that_goes_back_is_reported_to_the_admins_once_each(shop: Shop) -> None:
    user_id, sold = shop.subscriber()
    id_ = uuid4().hex

    def of(kind: str, **fields: object) -> PaymentEvent:
        payload = {"id": f"x_{id_}", "currency": "usd"} | fields
        return event(kind, customer_id=sold.customer_id, payload=payload)

    refund = "charge.refunded"
    await shop.deliver(
        of(refund, amount=2000, amount_refunded=500),
        of(refund, amount=2000, amount_refunded=500),
        of(refund, amount=2000, amount_refunded=2000),
        of("charge.dispute.created", charge=f"ch_{id_}", reason="fraudulent", amount=2000),
        of("charge.dispute.created", charge=f"ch_{id_}", reason="fraudulent", amount=2000),
        of("charge.dispute.closed", charge=f"ch_{id_}", status="lost", amount=2000),
    )
    found = shop.admin_notices(id_)
    listed = [(k, v["amount"], v["status"], v["user_id"]) for k, v in found if isinstance(v, dict)]
    assert listed == [
        ("refunded", 500, None, str(user_id)),
        ("refunded", 2000, None, str(user_id)),
        ("dispute_opened", 2000, None, str(user_id)),
        ("dispute_closed", 2000, "lost", str(user_id)),
    ]
    assert shop.notices(user_id) == []


async def test_dispute_that_names_no_customer_reaches_the_admins(shop: Shop) -> None:
    charge_id = f"ch_{uuid4().hex}"
    payload = {"id": f"du_{uuid4().hex}", "charge": charge_id, "amount": 700, "currency": "usd"}
    await shop.deliver(event("charge.dispute.created", payload=payload))
    ((kind, _),) = shop.admin_notices(charge_id)
    assert kind == "dispute_opened"


async def test_usage_that_could_not_be_counted_reaches_the_admins_once(shop: Shop) -> None:
    problem = MeterProblem(
        event_id=f"evt_{uuid4().hex}",
        meter_id="mtr_1",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        reasons=(("meter_event_no_customer_defined", 3, ("usage-1",)),),
    )
    for _ in range(2):
        await shop.events.process_meter_problem(problem)
    found = shop.sql(
        "select values from billing_notices where key = %s", f"meter_problem:{problem.event_id}"
    )
    assert found == [
        (
            {
                "meter": "mtr_1",
                "at": "2026-03-01T00:00:00+00:00",
                "reasons": [
                    {
                        "code": "meter_event_no_customer_defined",
                        "count": 3,
                        "identifiers": ["usage-1"],
                    }
                ],
            },
        )
    ]
