"""What follows from someone's subscriptions, whatever they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisaas.billing.plans.models import Entitlement
from aisaas.billing.ports import PaidSubscription
from aisaas.billing.subscriptions.subscriptions import duplicates, entitlement

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
GRACE = 7 * DAY
PLANS = ("pro", "business")
STATUSES = (
    "trialing",
    "active",
    "past_due",
    "unpaid",
    "canceled",
    "incomplete",
    "incomplete_expired",
    "paused",
    "something new",
)


def subscription(status: str = "active", **changed: object) -> PaidSubscription:
    made = PaidSubscription(
        id="sub_1",
        customer_id="cus_1",
        user_id=None,
        status=status,
        plan="pro",
        price_id="price_1",
        item_id="si_1",
        period_start=NOW - 10 * DAY,
        period_end=NOW + 20 * DAY,
        cancel_at=None,
        trial_end=None,
        unpaid_since=None,
        created_at=NOW - 40 * DAY,
    )
    return replace(made, **changed)  # pyright: ignore[reportArgumentType]


def of(*subscriptions: PaidSubscription, now: datetime = NOW) -> Entitlement:
    return entitlement(subscriptions, plans=PLANS, now=now, grace=GRACE)


@pytest.mark.parametrize(
    ("status", "plan", "shown"),
    [
        ("trialing", "pro", "trialing"),
        ("active", "pro", "active"),
        ("past_due", "pro", "past_due"),
        ("unpaid", "free", "past_due"),
        ("canceled", "free", "cancelled"),
        ("incomplete", "free", "free"),
        ("incomplete_expired", "free", "free"),
        ("paused", "free", "free"),
        ("something new", "free", "free"),
    ],
)
def test_status_decides_what_one_subscription_grants(status: str, plan: str, shown: str) -> None:
    has = of(subscription(status, unpaid_since=NOW - DAY))
    assert (has.plan, has.status) == (plan, shown)


def test_nobody_without_a_subscription_has_anything() -> None:
    assert of() == Entitlement("free", "free")


def test_plan_comes_with_the_period_and_the_customer_of_what_grants_it() -> None:
    assert of(subscription()) == Entitlement(
        "pro", "active", "sub_1", "cus_1", NOW - 10 * DAY, NOW + 20 * DAY, None
    )


def test_unpaid_plan_goes_on_until_its_grace_is_over() -> None:
    owing = subscription("past_due", unpaid_since=NOW - 2 * DAY)
    assert of(owing).ends_at == NOW + 5 * DAY
    assert of(owing, now=NOW + 5 * DAY - timedelta(seconds=1)).plan == "pro"
    over = of(owing, now=NOW + 5 * DAY)
    assert (over.plan, over.status, over.subscription_id) == ("free", "past_due", None)


def test_grace_counts_from_the_period_when_nobody_knows_since_when_it_is_unpaid() -> None:
    assert of(subscription("past_due", period_start=NOW - DAY)).ends_at == NOW + 6 * DAY
    bare = subscription("past_due", period_start=None, created_at=NOW - 3 * DAY)
    assert of(bare).ends_at == NOW + 4 * DAY


def test_cancelled_plan_goes_on_until_its_end_and_not_a_moment_longer() -> None:
    leaving = subscription(cancel_at=NOW + DAY)
    assert (of(leaving).plan, of(leaving).ends_at) == ("pro", NOW + DAY)
    left = of(leaving, now=NOW + DAY)
    assert (left.plan, left.status, left.ends_at) == ("free", "cancelled", None)


def test_whichever_end_comes_first_ends_the_plan() -> None:
    both = subscription("past_due", unpaid_since=NOW - 2 * DAY, cancel_at=NOW + 30 * DAY)
    assert of(both).ends_at == NOW + 5 * DAY
    assert of(replace(both, cancel_at=NOW + DAY)).ends_at == NOW + DAY


def test_best_plan_of_several_counts() -> None:
    pro = subscription(created_at=NOW - DAY)
    business = subscription(id="sub_2", plan="business", customer_id="cus_2")
    for order in ((pro, business), (business, pro)):
        has = of(*order)
        assert (has.plan, has.subscription_id, has.customer_id) == ("business", "sub_2", "cus_2")


def test_end_of_the_better_plan_leaves_the_other_one() -> None:
    leaving = subscription(id="sub_2", plan="business", cancel_at=NOW + DAY)
    assert of(subscription(), leaving).plan == "business"
    assert of(subscription(), leaving, now=NOW + DAY).plan == "pro"


def test_of_two_for_one_plan_the_one_that_lasts_longer_counts() -> None:
    leaving = subscription(id="sub_2", cancel_at=NOW + DAY, created_at=NOW)
    assert of(leaving, subscription()).subscription_id == "sub_1"


@pytest.mark.parametrize("plan", [None, "gold", "free"])
def test_price_of_no_plan_grants_nothing(plan: str | None) -> None:
    assert of(subscription(plan=plan)).plan == "free"
    assert of(subscription(plan=plan), subscription(id="sub_2")).subscription_id == "sub_2"


@pytest.mark.parametrize(
    "period", [(None, None), (NOW, None), (None, NOW), (NOW, NOW), (NOW, NOW - DAY)]
)
def test_period_is_whole_or_left_out(period: tuple[datetime | None, datetime | None]) -> None:
    has = of(subscription(period_start=period[0], period_end=period[1]))
    assert (has.plan, has.period_start, has.period_end) == ("pro", None, None)


def test_customer_of_what_may_still_be_paid_for_is_kept_and_of_what_is_over_is_not() -> None:
    assert of(subscription("incomplete")).customer_id == "cus_1"
    assert of(subscription("canceled")).customer_id is None


times = st.integers(-60, 60).map(lambda days: NOW + days * DAY)
any_subscription = st.builds(
    subscription,
    st.sampled_from(STATUSES),
    id=st.sampled_from([f"sub_{n}" for n in range(50)]),
    plan=st.sampled_from(["pro", "business", "gold", None]),
    cancel_at=st.none() | times,
    unpaid_since=st.none() | times,
    created_at=times,
)
several = st.lists(any_subscription, max_size=5, unique_by=lambda each: each.id)


@given(several, st.randoms(use_true_random=False))
def test_order_in_which_subscriptions_are_listed_means_nothing(
    subscriptions: list[PaidSubscription], random: Random
) -> None:
    shuffled = list(subscriptions)
    random.shuffle(shuffled)
    assert of(*shuffled) == of(*subscriptions)


@given(several, any_subscription)
def test_one_more_subscription_never_takes_a_plan_away(
    subscriptions: Sequence[PaidSubscription], more: PaidSubscription
) -> None:
    rank = ("free", *PLANS).index
    before = of(*subscriptions)
    assert rank(of(*subscriptions, replace(more, id="sub_more")).plan) >= rank(before.plan)


@given(several)
def test_paid_plan_is_always_granted_by_a_subscription_in_force(
    subscriptions: Sequence[PaidSubscription],
) -> None:
    has = of(*subscriptions)
    if has.plan == "free":
        assert (has.subscription_id, has.ends_at, has.period_start) == (None, None, None)
        return
    (granting,) = [each for each in subscriptions if each.id == has.subscription_id]
    assert granting.plan == has.plan
    assert granting.status in {"trialing", "active", "past_due"}
    assert has.ends_at is None or has.ends_at > NOW


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("age", "ended"),
    [
        (timedelta(0), True),
        (3 * DAY - SECOND, True),
        # What has been there for three days is someone's intention.
        (3 * DAY, False),
        (3 * DAY + SECOND, False),
        (40 * DAY - SECOND, False),
    ],
)
def test_second_subscription_is_ended_within_three_days_of_its_beginning(
    age: timedelta, ended: bool
) -> None:
    first, second = subscription(), subscription(id="sub_2", created_at=NOW - age)
    found = duplicates([second, first], plans=PLANS, now=NOW)
    assert [each.id for each in found] == (["sub_2"] if ended else [])


def test_of_two_that_began_together_one_is_kept() -> None:
    pair = [subscription(id=given, created_at=NOW) for given in ("sub_b", "sub_a")]
    assert [each.id for each in duplicates(pair, plans=PLANS, now=NOW)] == ["sub_b"]


@pytest.mark.parametrize(
    "beside",
    [
        {"status": "canceled"},
        {"status": "unpaid"},
        {"status": "incomplete"},
        # The operator sells something else in the same account.
        {"plan": None},
        {"plan": "gone"},
    ],
)
def test_what_bills_no_usage_beside_it_makes_nothing_a_duplicate(beside: dict[str, Any]) -> None:
    older = subscription(id="sub_0", created_at=NOW - 50 * DAY, **beside)
    newer = subscription(id="sub_2", created_at=NOW - DAY, **beside)
    first = subscription(created_at=NOW - 2 * DAY)
    assert duplicates([older, first, newer], plans=PLANS, now=NOW) == []
