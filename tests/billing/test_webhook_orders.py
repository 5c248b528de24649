"""Events come late, several times and in any order, and always end in what a fresh look shows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aisaas.adapters.redis_signals import RedisSignals
from aisaas.billing.ports import PaidSubscription, PaymentEvent
from aisaas.billing.subscriptions.subscriptions import entitlement
from tests.billing.conftest import Billing, Sql
from tests.billing.provider import DAY, event, new_subscription, this_second
from tests.billing.webhooks import GRACE, PLANS, Shop, new_customer


@pytest.fixture
def shop(billing: Billing, sql: Sql, signals: RedisSignals) -> Shop:
    return Shop(billing.service, sql, signals)


@dataclass(frozen=True)
class Step:
    """What happens at the provider, to which of two subscriptions, and what it tells of it."""

    which: int
    changed: Mapping[str, object]
    tells: tuple[str, ...]


NOW = this_second()
LATER = NOW + 30 * DAY
RENEWED = {"status": "active", "period_start": NOW, "period_end": LATER, "unpaid_since": None}

LIFE = (
    Step(
        0,
        {"status": "trialing", "trial_end": NOW + 3 * DAY},
        ("checkout.session.completed", "customer.subscription.created", "invoice.paid"),
    ),
    Step(0, {}, ("customer.subscription.trial_will_end",)),
    Step(0, RENEWED, ("customer.subscription.updated", "invoice.payment_succeeded")),
    Step(0, {"plan": "business"}, ("customer.subscription.updated",)),
    Step(
        0,
        {"status": "past_due", "unpaid_since": NOW - DAY},
        ("invoice.payment_failed", "customer.subscription.updated"),
    ),
    Step(0, RENEWED, ("invoice.paid", "customer.subscription.updated")),
    Step(0, {"cancel_at": LATER}, ("customer.subscription.updated",)),
    Step(1, {"status": "incomplete"}, ("customer.subscription.created",)),
    Step(
        1,
        {"status": "active"},
        ("checkout.session.completed", "customer.subscription.updated", "invoice.paid"),
    ),
    Step(0, {"status": "canceled"}, ("customer.subscription.deleted",)),
    Step(
        1,
        {"status": "past_due", "unpaid_since": NOW - 2 * DAY},
        ("invoice.payment_failed", "invoice.payment_action_required"),
    ),
    Step(1, {"status": "unpaid"}, ("customer.subscription.updated",)),
    Step(1, {"status": "canceled"}, ("customer.subscription.deleted",)),
)


@dataclass(frozen=True)
class Course:
    """How far life goes, and after how many of its steps each event arrives, once or oftener."""

    steps: int
    arrivals: tuple[tuple[int, str, int], ...]
    known_customer: bool


@st.composite
def courses(draw: st.DrawFn) -> Course:
    steps = draw(st.integers(1, len(LIFE)))
    arrivals = [
        (after, kind, step)
        for step in range(steps)
        for kind in LIFE[step].tells
        for after in draw(st.lists(st.integers(step, steps - 1), min_size=1, max_size=3))
    ]
    return Course(steps, tuple(draw(st.permutations(arrivals))), draw(st.booleans()))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(courses())
async def test_every_order_with_duplicates_ends_in_what_a_fresh_look_shows(
    shop: Shop, course: Course
) -> None:
    customer = new_customer()
    user_id = shop.user(customer if course.known_customer else None)
    two = [
        new_subscription(user_id, customer, created_at=NOW - (5 - n) * DAY, plan=PLANS[0])
        for n in range(2)
    ]
    events: dict[tuple[str, int], PaymentEvent] = {}
    arriving: dict[int, list[PaymentEvent]] = defaultdict(list)
    for after, kind, step in course.arrivals:
        about = two[LIFE[step].which]
        if (kind, step) not in events:
            payload = {"id": f"in_{about.id}_{step}", "attempt_count": 1, "amount_due": 2000}
            payload |= {"currency": "usd"}
            events[kind, step] = event(kind, about, user_id=user_id, payload=payload)
        arriving[after].append(events[kind, step])

    for n, step in enumerate(LIFE[: course.steps]):
        now = shop.provider.has.get(two[step.which].id, two[step.which])
        shop.provider.put(replace(now, **step.changed))  # pyright: ignore[reportArgumentType]
        # What arrives between two steps arrives at once.
        await asyncio.gather(*(shop.another().deliver(each) for each in arriving[n]))

    found = shop.profile(user_id), _stored(shop, user_id)
    truth = [each for each in shop.provider.has.values() if each.customer_id == customer]
    has = entitlement(truth, plans=PLANS, now=NOW, grace=GRACE)
    assert found[0]._replace(customer_id=None) == (
        *(has.plan, has.status, has.subscription_id, None),
        *(has.period_start, has.period_end, has.ends_at),
    )
    assert found[1] == {each.id: (each.status, each.plan) for each in truth}
    await shop.subscriptions.synchronise_customer(customer, user_id=user_id)
    assert (shop.profile(user_id), _stored(shop, user_id)) == found
    # Nobody is mailed twice about one thing, nor about what is none of theirs.
    mails = [kind for kind, _ in shop.notices(user_id)]
    assert all(mails.count(kind) <= _most(kind, truth) for kind in mails)


def _stored(shop: Shop, user_id: object) -> dict[object, object]:
    rows = shop.sql("select id, status, plan from subscriptions where user_id = %s", user_id)
    return {row[0]: row[1:] for row in rows}


def _most(kind: object, truth: list[PaidSubscription]) -> int:
    """How many such facts there are."""
    ended = sum(each.status == "canceled" for each in truth)
    # Each of two invoices fails once.
    facts = {"subscription_ended": ended, "payment_failed": 2, "trial_will_end": 1}
    return facts.get(str(kind), 1)
