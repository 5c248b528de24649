"""Reserve, then settle: nobody gets above the allowance, and everything is booked once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from aisaas.adapters.litellm_prices import price_of
from aisaas.adapters.redis_signals import RedisSignals
from aisaas.billing.ledger.models import Charge
from aisaas.billing.reservations import store as reservations_store
from aisaas.billing.reservations.quota import Quota, book
from aisaas.controls.kill_switch import KillSwitches
from aisaas.errors import Busy, QuotaExceeded, Refusal, SpendingPaused
from tests.billing.conftest import PLENTY, Billing, charge, claim, model


async def _outcome(reservation: Awaitable[int]) -> str:
    try:
        await reservation
    except Refusal as refusal:
        return refusal.code
    return "granted"


async def _book(billing: Billing, what: Charge) -> Decimal | None:
    async with billing.service.transaction() as session:
        booked = await book(session, what)
        return None if booked is None else booked.cost_usd


# The allowance


async def test_200_parallel_calls_on_an_allowance_for_20_are_granted_20_times(
    billing: Billing, someone: UUID
) -> None:
    quota = billing.quota()
    claims = [claim(someone, limit=20 * 500, min_tokens=400) for _ in range(200)]
    outcomes = await asyncio.gather(*(_outcome(quota.reserve(each)) for each in claims))
    assert Counter(outcomes) == {"granted": 20, "quota_exceeded": 180}
    assert billing.held(someone) == (0, 20 * 500)
    granted = [each for each, outcome in zip(claims, outcomes, strict=True) if outcome == "granted"]
    await asyncio.gather(*(_book(billing, charge(each, 150, prompt=50)) for each in granted))
    assert billing.held(someone) == (20 * 200, 0)
    assert billing.sql(
        "select count(*), sum(quota_tokens) from usage_records where user_id = %s", someone
    ) == [(20, 20 * 200)]


async def test_reserving_and_settling_at_once_never_gets_above_the_allowance(
    billing: Billing, someone: UUID
) -> None:
    quota = billing.quota()
    limit = 20 * 500

    async def call() -> int:
        mine = claim(someone, limit=limit)
        try:
            granted = await quota.reserve(mine)
        except QuotaExceeded:
            return 0
        # The worst case: all that was granted is used.
        await _book(billing, charge(mine, granted, prompt=100))
        return granted + 100

    used = sum(await asyncio.gather(*(call() for _ in range(200))))
    assert used <= limit
    assert billing.held(someone) == (used, 0)
    # What is left would not have been worth a call.
    assert limit - used < 100 + 16


async def test_completion_is_clamped_to_what_is_left(billing: Billing, someone: UUID) -> None:
    quota = billing.quota()
    assert await quota.reserve(claim(someone, limit=1000)) == 400
    assert await quota.reserve(claim(someone, limit=1000, max_tokens=900)) == 400
    assert billing.held(someone) == (0, 1000)


async def test_clamp_stops_where_an_answer_is_not_worth_starting(
    billing: Billing, someone: UUID
) -> None:
    quota = billing.quota()
    with pytest.raises(QuotaExceeded) as caught:
        await quota.reserve(claim(someone, limit=115))
    assert "115 tokens you have left this month. Shorten it." in caught.value.sentence
    assert await quota.reserve(claim(someone, limit=116)) == 16


@pytest.mark.parametrize(
    ("left", "conversation", "advice"),
    [
        (23, None, "A reply needs more than the 23 tokens you have left this month."),
        (
            24,
            None,
            "Your message needs more than the 24 tokens you have left this month. Shorten it.",
        ),
        (24, uuid4(), "Start a new chat with a shorter message."),
        (0, None, "You've used all your tokens for this month."),
    ],
)
async def test_refusal_says_what_can_be_done_now_or_when_to_come_back(
    billing: Billing, someone: UUID, left: int, conversation: UUID | None, advice: str
) -> None:
    wanted = replace(claim(someone, limit=left), conversation_id=conversation)
    with pytest.raises(QuotaExceeded) as caught:
        await billing.quota().reserve(wanted)
    assert caught.value.sentence.endswith(advice)
    nothing_to_do_now = not advice.endswith(("Shorten it.", "shorter message."))
    assert (caught.value.retry_at is not None) == nothing_to_do_now


async def test_short_answer_that_was_asked_for_is_not_too_short(
    billing: Billing, someone: UUID
) -> None:
    assert await billing.quota().reserve(claim(someone, limit=105, max_tokens=5)) == 5


async def test_refusal_leaves_nothing_behind(billing: Billing, someone: UUID) -> None:
    before = billing.day("free"), billing.day("total")
    with pytest.raises(QuotaExceeded):
        await billing.quota().reserve(claim(someone, limit=10, of=model(usd="1000")))
    assert billing.held(someone) == (0, 0)
    assert (billing.day("free"), billing.day("total")) == before
    assert billing.sql("select id from reservations where user_id = %s", someone) == []


async def test_allowance_of_nothing_grants_nothing(billing: Billing, someone: UUID) -> None:
    with pytest.raises(QuotaExceeded):
        await billing.quota().reserve(claim(someone, limit=0))


async def test_lowered_limit_holds_at_once_and_a_raised_one_frees_at_once(
    billing: Billing, someone: UUID
) -> None:
    quota = billing.quota()
    await quota.reserve(claim(someone, limit=1000))
    with pytest.raises(QuotaExceeded):
        await quota.reserve(claim(someone, limit=500))
    assert await quota.reserve(claim(someone, limit=1001)) == 400


@pytest.mark.parametrize("weight", ["0.1", "0.3333", "1", "1.5", "7", "15.0001"])
@pytest.mark.parametrize("limit", [130, 997, 4999])
async def test_weighted_reservation_takes_all_it_can_and_never_more(
    billing: Billing, someone: UUID, weight: str, limit: int
) -> None:
    asked = claim(
        someone, prompt=7, max_tokens=100_000, min_tokens=1, limit=limit, of=model(weight)
    )
    granted = await billing.quota().reserve(asked)
    _, reserved = billing.held(someone)
    assert granted * Decimal(weight) <= reserved <= limit
    one_more = (7 + granted + 1) * Decimal(weight)
    assert granted == 100_000 or one_more > limit


# Parallel replies


async def test_no_more_than_three_replies_run_at_once_however_many_start(
    billing: Billing, someone: UUID
) -> None:
    quota = billing.quota()
    claims = [claim(someone, parallel=3) for _ in range(30)]
    outcomes = await asyncio.gather(*(_outcome(quota.reserve(each)) for each in claims))
    assert Counter(outcomes) == {"granted": 3, "busy": 27}
    assert billing.held(someone) == (0, 3 * 500)


async def test_fourth_reply_is_refused_and_consumes_nothing_until_one_ends(
    billing: Billing, someone: UUID
) -> None:
    quota = billing.quota()
    running = [claim(someone, parallel=3) for _ in range(3)]
    for each in running:
        await quota.reserve(each)
    fourth = claim(someone, parallel=3)
    with pytest.raises(Busy):
        await quota.reserve(fourth)
    assert billing.held(someone) == (0, 1500)
    await quota.release(running[0].request_id)
    assert await quota.reserve(fourth) == 400


async def test_title_is_not_one_of_the_parallel_replies(billing: Billing, someone: UUID) -> None:
    quota = billing.quota()
    await quota.reserve(claim(someone, purpose="title"))
    assert await quota.reserve(claim(someone, parallel=1)) == 400
    assert await quota.reserve(claim(someone, purpose="title")) == 400


# The kill switch


async def test_engaged_switch_stops_the_reservation_and_a_lifted_one_does_not(
    billing: Billing, someone: UUID, signals: RedisSignals
) -> None:
    scope = f"model:{uuid4()}"
    quota = billing.quota()
    switches = KillSwitches(billing.service, signals, lambda: [scope])
    asked = claim(someone, switches=frozenset({"all", scope}))
    assert await switches.engage(scope, actor="tests", reason="drill")
    try:
        with pytest.raises(SpendingPaused):
            await quota.reserve(asked)
        # A model that the switch doesn't name goes on.
        assert await quota.reserve(claim(someone, switches=frozenset({"all"}))) == 400
    finally:
        assert await switches.lift(scope, actor="tests", reason="drill over")
    assert await quota.reserve(asked) == 400
    assert billing.held(someone) == (0, 1000)
    assert billing.sql(
        "select action from audit_log where subject = %s order by created_at", scope
    ) == [("kill_switch.engage",), ("kill_switch.lift",)]


# Periods


async def _reserve_in(
    billing: Billing, user_id: UUID, period: str, *, tokens: int, limit: int
) -> tuple[UUID, str | None]:
    request_id = uuid4()
    async with billing.service.transaction() as session:
        row = await session.execute(
            text(
                "select refusal from private.reserve(:id, :user, null, null, 'reply', 'free',"
                " 'tests', 0, 0, :tokens, :tokens, 1, 0, 0, :period,"
                " '2026-01-01', '2026-02-01', :limit, 0, null, true, 1000000, 1000000, 15, '{}')"
            ),
            {
                "id": request_id,
                "user": user_id,
                "period": period,
                "tokens": tokens,
                "limit": limit,
            },
        )
    return request_id, row.scalar_one()


async def test_each_period_has_its_own_allowance(billing: Billing, someone: UUID) -> None:
    _, refusal = await _reserve_in(billing, someone, "month:2026-01", tokens=90, limit=100)
    assert refusal is None
    _, refusal = await _reserve_in(billing, someone, "month:2026-01", tokens=90, limit=100)
    assert refusal == "quota_exceeded"
    _, refusal = await _reserve_in(billing, someone, "month:2026-02", tokens=90, limit=100)
    assert refusal is None


async def test_reply_that_ends_in_the_next_period_is_booked_in_its_own(
    billing: Billing, someone: UUID
) -> None:
    request_id, _ = await _reserve_in(billing, someone, "month:2026-01", tokens=90, limit=100)
    await _reserve_in(billing, someone, "month:2026-02", tokens=50, limit=100)
    await _book(billing, replace(charge(claim(someone), 60), request_id=request_id))
    assert billing.sql(
        "select period_key, used, reserved from quota_periods where user_id = %s order by 1",
        someone,
    ) == [("month:2026-01", 60, 0), ("month:2026-02", 0, 50)]
    assert billing.sql("select period_key from usage_records where user_id = %s", someone) == [
        ("month:2026-01",)
    ]


async def test_period_is_the_calendar_month_by_the_databases_clock(
    billing: Billing, someone: UUID
) -> None:
    await billing.quota().reserve(claim(someone))
    assert billing.sql(
        """
        select period_key = 'month:' || to_char(now() at time zone 'UTC', 'YYYY-MM'),
          now() >= period_start and now() < period_end,
          extract(day from period_start at time zone 'UTC'),
          period_end at time zone 'UTC' = (period_start at time zone 'UTC') + interval '1 month'
        from quota_periods where user_id = %s
        """,
        someone,
    ) == [(True, True, 1, True)]


# Closing


async def test_closing_twice_books_once(billing: Billing, someone: UUID) -> None:
    mine = claim(someone, of=model(usd="1000"))
    await billing.quota().reserve(mine)
    assert await _book(billing, charge(mine, 100, prompt=100)) == Decimal("0.2")
    assert await _book(billing, charge(mine, 399, prompt=100)) is None
    assert billing.held(someone) == (200, 0)
    assert len(billing.sql("select id from usage_records where user_id = %s", someone)) == 1


async def test_many_settlers_at_once_book_once(billing: Billing, someone: UUID) -> None:
    mine = claim(someone, free=False, limit=0, overage=1_000, of=model(usd="1000"))
    await billing.quota().reserve(mine)
    spent, reserved = billing.day("total")
    booked = await asyncio.gather(
        *(_book(billing, charge(mine, 100, prompt=100, customer="cus_1")) for _ in range(20))
    )
    assert sorted(booked, key=str) == [Decimal("0.2"), *[None] * 19]
    assert billing.held(someone) == (200, 0)
    assert billing.day("total") == (spent + Decimal("0.2"), reserved - Decimal("0.5"))
    assert billing.sql(
        "select o.micro_usd, o.stripe_customer_id, o.identifier = 'usage-' || u.id"
        " from usage_outbox o join usage_records u on u.id = o.usage_record_id"
        " where o.user_id = %s",
        someone,
    ) == [(200, "cus_1", True)]


async def test_release_and_settling_at_once_end_in_one_of_them(
    billing: Billing, someone: UUID
) -> None:
    quota = billing.quota()
    for _ in range(10):
        mine = claim(someone)
        await quota.reserve(mine)
        await asyncio.gather(quota.release(mine.request_id), _book(billing, charge(mine, 10)))
    used, reserved = billing.held(someone)
    assert reserved == 0
    ((lines,),) = billing.sql("select count(*) from usage_records where user_id = %s", someone)
    assert used == 10 * int(str(lines))


async def test_call_that_used_nothing_gives_everything_back_and_writes_no_line(
    billing: Billing, someone: UUID
) -> None:
    mine = claim(someone, of=model(usd="1000"))
    before = billing.day("free"), billing.day("total")
    await billing.quota().reserve(mine)
    assert await _book(billing, charge(mine, 0)) == 0
    assert billing.held(someone) == (0, 0)
    assert (billing.day("free"), billing.day("total")) == before
    assert billing.sql("select state from reservations where id = %s", mine.request_id) == [
        ("released",)
    ]
    assert billing.sql("select id from usage_records where user_id = %s", someone) == []


async def test_unknown_request_books_nothing(billing: Billing, someone: UUID) -> None:
    assert await _book(billing, charge(claim(someone), 100)) is None
    assert billing.sql("select id from usage_records where user_id = %s", someone) == []


async def test_ledger_line_that_can_not_be_written_leaves_the_reservation_open(
    billing: Billing, someone: UUID
) -> None:
    mine = claim(someone)
    await billing.quota().reserve(mine)
    with pytest.raises(Exception, match="usage_records_counted_by_check"):
        await _book(billing, replace(charge(mine, 10), counted_by="guess"))
    assert billing.held(someone) == (0, 500)
    assert await _book(billing, charge(mine, 10)) is not None


# Accounts that go away


async def _deleted_account_with_a_running_reply(
    billing: Billing, quota: Quota, *, free: bool
) -> tuple[UUID, Charge]:
    user_id = uuid4()
    billing.sql(
        "insert into auth.users (id, email) values (%s, %s)", user_id, f"{user_id}@example.com"
    )
    billing.sql("update profiles set stripe_customer_id = %s where id = %s", f"{user_id}", user_id)
    mine = claim(user_id, free=free, of=model(usd="1000"))
    await quota.reserve(mine)
    billing.sql("delete from auth.users where id = %s", user_id)
    return user_id, charge(mine, 100)


async def test_deleting_the_account_in_the_middle_of_a_reply_saves_nobody_its_price(
    billing: Billing,
) -> None:
    spent, reserved = billing.day("total")
    user_id, what = await _deleted_account_with_a_running_reply(
        billing, billing.quota(), free=False
    )
    assert await _book(billing, what) == Decimal("0.1")
    assert billing.day("total") == (spent + Decimal("0.1"), reserved)
    assert billing.sql("select quota_tokens from usage_records where user_id = %s", user_id) == [
        (100,)
    ]


async def _abandoned(billing: Billing, request_id: UUID) -> reservations_store.Abandoned:
    """Its lease ran out, and this recovery takes it over before any other can."""
    async with billing.service.transaction() as session:
        await session.execute(
            text("update reservations set lease_expires_at = '2000-01-01' where id = :id"),
            {"id": request_id},
        )
        (found,) = [
            item
            for item in await reservations_store.claim_abandoned(session, 1)
            if item.request_id == request_id
        ]
    return found


async def test_reservation_of_a_deleted_account_is_still_recovered(billing: Billing) -> None:
    _, what = await _deleted_account_with_a_running_reply(billing, billing.quota(), free=False)
    found = await _abandoned(billing, what.request_id)
    assert found.metered_customer is None
    assert await _book(billing, what) is not None


@pytest.mark.parametrize("free", [True, False])
async def test_recovered_reply_goes_to_the_meter_only_if_its_plan_does(
    billing: Billing, free: bool
) -> None:
    """A former customer still has a customer id, on the free plan too."""
    user_id = uuid4()
    billing.sql(
        "insert into auth.users (id, email) values (%s, %s)", user_id, f"{user_id}@example.com"
    )
    billing.sql("update profiles set stripe_customer_id = %s where id = %s", f"{user_id}", user_id)
    mine = claim(user_id, free=free)
    await billing.quota().reserve(mine)
    found = await _abandoned(billing, mine.request_id)
    assert found.metered_customer == (None if free else str(user_id))
    await billing.quota().release(mine.request_id)


# The day's caps


@pytest.mark.parametrize(("scope", "free"), [("free", True), ("total", False), ("total", True)])
async def test_daily_cap_holds_over_all_users_under_100_parallel_calls(
    billing: Billing, scope: str, free: bool
) -> None:
    spent, reserved = billing.day(scope)
    # Each call holds half a dollar; there is room for twelve of them, and some cents.
    cap = spent + reserved + Decimal("6.4")
    quota = (
        billing.quota(free_cap=cap)
        if scope == "free"
        else billing.quota(free_cap=PLENTY, total_cap=cap)
    )
    claims = [claim(uuid4(), free=free, of=model(usd="1000")) for _ in range(100)]
    outcomes = await asyncio.gather(*(_outcome(quota.reserve(each)) for each in claims))
    assert Counter(outcomes) == {"granted": 12, "spending_paused": 88}
    assert billing.day(scope) == (spent, reserved + Decimal(6))
    granted = [each for each, outcome in zip(claims, outcomes, strict=True) if outcome == "granted"]
    await asyncio.gather(*(_book(billing, charge(each, 100)) for each in granted))
    assert billing.day(scope) == (spent + Decimal("1.2"), reserved)


async def test_refusal_by_the_cap_says_when_it_opens_again(billing: Billing, someone: UUID) -> None:
    quota = billing.quota(free_cap=Decimal(0))
    with pytest.raises(SpendingPaused) as caught:
        await quota.reserve(claim(someone, of=model(usd="1000")))
    assert "free plan" in caught.value.sentence
    ((midnight,),) = billing.sql(
        "select ((now() at time zone 'UTC')::date + 1)::timestamp at time zone 'UTC'"
    )
    assert caught.value.retry_at == midnight
    assert billing.held(someone) == (0, 0)


async def test_free_tiers_cap_does_not_stop_those_who_pay(billing: Billing, someone: UUID) -> None:
    quota = billing.quota(free_cap=Decimal(0))
    paying = claim(someone, free=False, of=model(usd="1000"))
    assert await quota.reserve(paying) == 400
    await quota.release(paying.request_id)


@pytest.mark.parametrize(
    ("prompt", "held"),
    # Up to the threshold the dearest a prompt can be is written to the cache for an hour.
    [(100_000, "0.020500"), (100_001, "0.102501")],
)
async def test_money_is_held_by_the_tier_that_the_prompt_reaches(
    billing: Billing, someone: UUID, prompt: int, held: str
) -> None:
    price = price_of("anthropic/claude-haiku-5-5")
    assert price is not None
    # As the map has it, answering anywhere.
    haiku = replace(model(), price=replace(price, regions=()), context_window=1_000_000)
    cheap = replace(model(usd="0.01"), id="cheap")
    wanted = claim(someone, prompt=prompt, max_tokens=1_000, of=haiku)
    # The order of the models doesn't matter: any of them may answer.
    for models in ((haiku, cheap), (cheap, haiku)):
        once = replace(wanted, request_id=uuid4(), models=models)
        await billing.quota().reserve(once)
        assert billing.sql("select cost_usd from reservations where id = %s", once.request_id) == [
            (Decimal(held),)
        ]
