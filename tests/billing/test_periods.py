"""Whose calls count in which period, and how much of it there is, to the token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from aisaas.accounts.models import GrantingSubscription
from aisaas.billing.ledger import store as ledger_store
from aisaas.billing.plans.models import BillingAccount, Limits, RateLimits
from aisaas.billing.plans.periods import Period, running
from aisaas.billing.plans.terms import Plan, PlanPrice
from aisaas.billing.reservations.models import Allowance, ReservationRequest
from aisaas.billing.reservations.quota import Quota, book
from aisaas.errors import CapReached, QuotaExceeded
from tests.billing.conftest import PLENTY, Billing, Sql, charge, claim

NOV_5 = datetime(2026, 11, 5, 8, 30, tzinfo=UTC)
DEC_5 = datetime(2026, 12, 5, 8, 30, tzinfo=UTC)
FREE = Plan("free", "Free", RateLimits(10, 100), 300, 3)
# A token beyond what is included costs a cent.
PRO = Plan(
    "pro",
    "Pro",
    RateLimits(10, 100),
    1_000,
    3,
    PlanPrice(Decimal(20), Decimal(10_000), Decimal(2), trial_days=14, trial_tokens=500),
)
BUSINESS = Plan(
    "business",
    "Business",
    RateLimits(10, 100),
    5_000,
    3,
    PlanPrice(Decimal(100), Decimal(5_000), Decimal(0), trial_days=0, trial_tokens=0),
)


def subscriber(
    plan: str = "pro",
    *,
    status: str = "active",
    start: datetime = NOV_5,
    end: datetime = DEC_5,
    at: datetime = NOV_5 + timedelta(days=3),
) -> BillingAccount:
    return BillingAccount(
        user_id=uuid4(),
        email="ada@example.com",
        full_name="",
        plan=plan,
        subscription_status=status,
        subscription=None if plan == "free" else GrantingSubscription("sub_1", start, end),
        plan_ends_at=None,
        overage_cap_usd=None,
        requests_per_minute=None,
        requests_per_day=None,
        tokens_per_month=None,
        parallel_replies=None,
        highest_cap_usd=None,
        metered_customer="cus_1",
        read_at=at,
    )


@dataclass(frozen=True)
class Till:
    """Uses tokens as a principal would, with these plans."""

    billing: Billing
    quota: Quota

    async def claim(self, who: BillingAccount, tokens: int) -> ReservationRequest:
        held = replace(
            claim(who.user_id, prompt=0, max_tokens=tokens, min_tokens=tokens, free=False),
            period=running(who),
            limits=self.quota.limits_of(who),
        )
        await self.quota.reserve(held)
        return held

    async def use(self, who: BillingAccount, tokens: int) -> None:
        held = await self.claim(who, tokens)
        await self.settle(who, held, tokens)

    async def settle(self, who: BillingAccount, held: ReservationRequest, tokens: int) -> None:
        async with self.billing.service.transaction() as session:
            await book(session, charge(held, tokens, customer=who.metered_customer))

    async def allowance(self, who: BillingAccount) -> Allowance:
        return await self.quota.allowance(who)

    def metered(self, who: BillingAccount) -> list[tuple[object, ...]]:
        return self.billing.sql(
            "select micro_usd, event_at from usage_outbox where user_id = %s"
            " and meter = 'ai_extra_usage' order by event_at, micro_usd",
            who.user_id,
        )


@pytest.fixture
def till(billing: Billing) -> Till:
    plans = {plan.id: plan for plan in (FREE, PRO, BUSINESS)}
    quota = Quota(billing.service, billing.user, plans, free_cap=PLENTY, total_cap=PLENTY)
    return Till(billing, quota)


def grant(sql: Sql, user_id: UUID, tokens: int, expires: datetime | None = None) -> UUID:
    ((grant_id,),) = sql(
        "insert into credit_grants (user_id, tokens, reason, granted_by, expires_at)"
        " values (%s, %s, 'an outage', 'tests', %s) returning id",
        user_id,
        tokens,
        expires,
    )
    return UUID(str(grant_id))


# Which period


def test_free_plan_counts_by_the_calendar_month() -> None:
    assert running(subscriber("free")) is None


@pytest.mark.parametrize(
    ("at", "begins", "ends"),
    [
        (NOV_5, NOV_5, DEC_5),
        (DEC_5 - timedelta(microseconds=1), NOV_5, DEC_5),
        # No event has announced the renewal yet.
        (DEC_5, DEC_5, datetime(2027, 1, 5, 8, 30, tzinfo=UTC)),
        (
            datetime(2027, 2, 5, 8, 30, tzinfo=UTC),
            datetime(2027, 2, 5, 8, 30, tzinfo=UTC),
            datetime(2027, 3, 5, 8, 30, tzinfo=UTC),
        ),
        # A provider whose clock is ahead, or was moved.
        (NOV_5 - timedelta(days=40), NOV_5, DEC_5),
    ],
)
def test_subscription_counts_by_its_items_period(
    at: datetime, begins: datetime, ends: datetime
) -> None:
    assert running(subscriber(at=at)) == Period(f"sub_1:{int(begins.timestamp())}", begins, ends)


def test_period_that_begins_on_the_31st_ends_with_a_shorter_month() -> None:
    jan_31 = datetime(2027, 1, 31, tzinfo=UTC)
    found = running(subscriber(start=datetime(2026, 12, 31, tzinfo=UTC), end=jan_31, at=jan_31))
    assert found is not None
    assert (found.start, found.end) == (jan_31, datetime(2027, 2, 28, tzinfo=UTC))


# How much


@pytest.mark.parametrize(
    ("who", "limits"),
    [
        (subscriber("free"), Limits(300)),
        (subscriber(), Limits(1_000, 200, capped=True)),
        (replace(subscriber(), overage_cap_usd=Decimal(7)), Limits(1_000, 700, capped=True)),
        (replace(subscriber(), overage_cap_usd=Decimal(0)), Limits(1_000, 0, capped=True)),
        (subscriber(status="trialing"), Limits(500)),
        # While a payment is due, nothing more is lent.
        (subscriber(status="past_due"), Limits(1_000)),
        # Nobody could be billed for more.
        (replace(subscriber(), metered_customer=None), Limits(1_000)),
        (replace(subscriber(), subscription=None), Limits(1_000)),
        (replace(subscriber(), tokens_per_month=42), Limits(42)),
        (subscriber("business"), Limits(5_000, 0, capped=True)),
        (subscriber("no longer sold"), Limits(300)),
    ],
)
def test_limits_are_what_the_plan_and_the_cap_say(
    till: Till, who: BillingAccount, limits: Limits
) -> None:
    assert till.quota.limits_of(who) == limits


async def test_cap_is_reached_to_the_token_and_says_so(till: Till) -> None:
    ada = subscriber()
    await till.use(ada, 1_150)
    with pytest.raises(CapReached) as refused:
        await till.claim(ada, 51)
    assert refused.value.retry_at == DEC_5
    await till.use(ada, 50)
    shown = await till.allowance(ada)
    assert (shown.used, shown.included, shown.beyond, shown.left) == (1_200, 1_000, 200, 0)
    with pytest.raises(CapReached, match="reached your spending cap"):
        await till.claim(ada, 1)
    # A higher cap counts at once.
    await till.use(replace(ada, overage_cap_usd=Decimal(3)), 100)


async def test_tokens_of_a_trial_end_without_anything_beyond(till: Till) -> None:
    ada = subscriber(status="trialing")
    await till.use(ada, 500)
    with pytest.raises(QuotaExceeded):
        await till.claim(ada, 1)


async def test_trials_end_begins_a_period_with_nothing_used(till: Till) -> None:
    trying = subscriber(status="trialing", end=NOV_5 + timedelta(days=14))
    await till.use(trying, 500)
    paying = replace(
        trying,
        subscription_status="active",
        subscription=GrantingSubscription("sub_1", NOV_5 + timedelta(days=14), DEC_5),
    )
    assert (await till.allowance(paying)).left == 1_200
    await till.use(paying, 1_200)


async def test_renewal_begins_with_nothing_used_also_before_the_event_arrives(till: Till) -> None:
    ada = subscriber()
    await till.use(ada, 1_200)
    renewed = replace(ada, read_at=DEC_5)
    await till.use(renewed, 900)
    renewing = replace(
        renewed, subscription=GrantingSubscription("sub_1", DEC_5, DEC_5 + timedelta(days=31))
    )
    assert (await till.allowance(renewing)).used == 900
    # What began before midnight still belongs to the period that paid for it.
    assert (await till.allowance(ada)).used == 1_200


async def test_call_that_settles_after_the_renewal_counts_where_it_began(till: Till) -> None:
    ada = subscriber()
    held = await till.claim(ada, 100)
    renewed = replace(ada, read_at=DEC_5)
    await till.use(renewed, 1)
    await till.settle(ada, held, 100)
    assert ((await till.allowance(ada)).used, (await till.allowance(renewed)).used) == (100, 1)


async def test_upgrade_in_the_middle_keeps_what_was_used(till: Till) -> None:
    ada = subscriber()
    await till.use(ada, 1_100)
    upgraded = replace(ada, plan="business")
    shown = await till.allowance(upgraded)
    assert (shown.used, shown.left, shown.beyond) == (1_100, 3_900, 0)


async def test_downgrade_in_the_middle_counts_what_was_used(till: Till) -> None:
    ada = subscriber("business")
    await till.use(ada, 1_150)
    downgraded = replace(ada, plan="pro")
    shown = await till.allowance(downgraded)
    assert (shown.left, shown.beyond) == (50, 150)
    with pytest.raises(CapReached):
        await till.claim(downgraded, 51)


async def test_cancellation_in_the_middle_leads_back_to_the_month(till: Till) -> None:
    ada = subscriber("free")
    await till.use(ada, 100)
    await till.use(replace(subscriber(), user_id=ada.user_id), 1_000)
    shown = await till.allowance(ada)
    assert (shown.used, shown.left) == (100, 200)


async def test_second_subscription_has_a_period_of_its_own(till: Till) -> None:
    ada = subscriber()
    await till.use(ada, 1_200)
    again = replace(ada, subscription=GrantingSubscription("sub_2", NOV_5, DEC_5))
    assert (await till.allowance(again)).used == 0


# What goes to the meter


async def test_what_costs_extra_goes_to_the_meter_at_the_time_the_call_began(
    till: Till, sql: Sql
) -> None:
    now = datetime.now(UTC)
    ada = subscriber(start=now - timedelta(days=2), end=now + timedelta(days=28), at=now)
    await till.use(ada, 970)
    assert till.metered(ada) == []
    held = await till.claim(ada, 100)
    sql(
        "update reservations set created_at = now() - interval '3 hours' where id = %s",
        held.request_id,
    )
    await till.settle(ada, held, 70)
    ((micro_usd, at),) = till.metered(ada)
    # Thirty of seventy were included; a token costs a millionth of a dollar here.
    assert micro_usd == 40
    assert isinstance(at, datetime)
    assert timedelta(hours=2.9) < datetime.now(UTC) - at < timedelta(hours=3.1)


async def test_call_is_never_metered_before_the_subscription_that_pays_for_it(till: Till) -> None:
    # The provider's clock is a little ahead of the database's.
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=90)
    ada = subscriber(start=start, end=start + timedelta(days=30), at=start)
    await till.use(ada, 1_010)
    assert till.metered(ada) == [(10, start)]


async def test_period_far_ahead_of_the_clock_leaves_the_time_alone(till: Till) -> None:
    start = datetime.now(UTC) + timedelta(days=30)
    ada = subscriber(start=start, end=start + timedelta(days=30), at=datetime.now(UTC))
    await till.use(ada, 1_010)
    ((_, at),) = till.metered(ada)
    assert isinstance(at, datetime)
    assert at < datetime.now(UTC) + timedelta(minutes=5)


# Credits


async def test_credits_are_used_after_what_is_included_and_before_what_costs_extra(
    till: Till, sql: Sql
) -> None:
    ada = subscriber()
    await till.use(ada, 900)
    grant(sql, ada.user_id, 150)
    assert (await till.allowance(ada)).left == 450
    await till.use(ada, 200)
    await till.use(ada, 200)
    shown = await till.allowance(ada)
    assert (shown.used, shown.credits, shown.beyond, shown.left) == (1_300, 150, 150, 50)
    # 100 of the second call were included, 100 of it and 50 of the third the credits'.
    assert [micro_usd for micro_usd, _ in till.metered(ada)] == [150]
    assert sql(
        "select quota_tokens, credit_tokens from usage_records where user_id = %s order by created_at",
        ada.user_id,
    ) == [(900, 0), (200, 100), (200, 50)]


async def test_credit_that_expires_first_pays_first_and_an_expired_one_never(
    till: Till, sql: Sql
) -> None:
    ada = replace(subscriber("free"), metered_customer=None)
    now = datetime.now(UTC)
    lasting = grant(sql, ada.user_id, 100)
    ending = grant(sql, ada.user_id, 100, now + timedelta(days=1))
    grant(sql, ada.user_id, 100, now - timedelta(seconds=1))
    assert (await till.allowance(ada)).left == 500
    await till.use(ada, 420)
    assert sql(
        "select grant_id, u.tokens from credit_uses u join credit_grants g on g.id = u.grant_id"
        " where g.user_id = %s order by u.tokens",
        ada.user_id,
    ) == [(lasting, 20), (ending, 100)]
    with pytest.raises(QuotaExceeded):
        await till.claim(ada, 81)


async def test_credits_are_spent_once_and_carry_over(till: Till, sql: Sql) -> None:
    ada = subscriber()
    grant(sql, ada.user_id, 300)
    await till.use(ada, 1_200)
    renewed = replace(ada, read_at=DEC_5)
    shown = await till.allowance(renewed)
    assert (shown.credits, shown.left) == (100, 1_300)
    await till.use(renewed, 1_300)
    assert (await till.allowance(renewed)).left == 0
    # Credits never pay for what had cost extra before they were given.
    grant(sql, ada.user_id, 40)
    assert (await till.allowance(renewed)).left == 40
    ((spent,),) = sql("select sum(spent) from credit_grants where user_id = %s", ada.user_id)
    assert int(str(spent)) == 300


async def test_replies_at_once_never_spend_a_credit_twice(till: Till, sql: Sql) -> None:
    ada = replace(subscriber("free"), metered_customer=None)
    grant(sql, ada.user_id, 200)
    await till.use(ada, 300)
    held = [await till.claim(ada, 50) for _ in range(4)]
    with pytest.raises(QuotaExceeded):
        await till.claim(ada, 1)
    for each in held:
        await till.settle(ada, each, 50)
    assert sql(
        "select sum(u.tokens)::int, max(g.spent)::int from credit_uses u"
        " join credit_grants g on g.id = u.grant_id where g.user_id = %s",
        ada.user_id,
    ) == [(200, 200)]


async def test_period_row_tells_what_was_included_when_it_was_used(till: Till, sql: Sql) -> None:
    ada = subscriber()
    await till.use(ada, 10)
    assert sql(
        "select period_key, included, overage, used from quota_periods where user_id = %s",
        ada.user_id,
    ) == [(f"sub_1:{int(NOV_5.timestamp())}", 1_000, 200, 10)]


async def test_page_shows_the_subscriptions_period(till: Till, billing: Billing) -> None:
    ada = subscriber()
    await till.use(ada, 10)
    async with billing.user.as_user(ada.user_id) as session:
        page = await ledger_store.overview(
            session, ada.user_id, running(ada), till.quota.limits_of(ada)
        )
    assert (page.allowance.period_end, page.allowance.used) == (DEC_5, 10)
    assert [(use.in_period, use.tokens) for use in page.days] == [(True, 10)]
