"""The sums by day are the ledger, whatever happens at once; and what a page of usage reads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.admin.usage import UsageReports
from aisaas.billing.ledger import store as ledger_store
from aisaas.billing.ledger.models import Call, CallPage, Charge, Outcome, Overview
from aisaas.billing.ledger.usage_models import Difference, Span
from aisaas.billing.plans.models import Limits
from aisaas.billing.reservations.models import ReservationRequest
from aisaas.billing.reservations.quota import book
from aisaas.db.paging import Cursor, Moment
from tests.billing.conftest import Billing, Sql, charge, claim, model

LEDGER = """
    select user_id, (created_at at time zone 'UTC')::date as day, period_key, model, plan, purpose,
      count(*) as requests,
      count(*) filter (where outcome = 'done') as done,
      count(*) filter (where outcome = 'stopped') as stopped,
      count(*) filter (where outcome = 'interrupted') as interrupted,
      count(*) filter (where outcome = 'failed') as failed,
      sum(prompt_tokens) as prompt_tokens, sum(completion_tokens) as completion_tokens,
      sum(quota_tokens) as quota_tokens, sum(cost_usd) as cost_usd
    from usage_records where user_id = any(%s) group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6
"""
DAYS = """
    select user_id, day, period_key, model, plan, purpose, requests, done, stopped, interrupted,
      failed, prompt_tokens, completion_tokens, quota_tokens, cost_usd
    from usage_days where user_id = any(%s) order by 1, 2, 3, 4, 5, 6
"""
# Uneven, so that a line's share has to be rounded.
PRICE = Decimal("3.333333")
OUTCOMES: tuple[Outcome, ...] = ("done", "stopped", "interrupted", "failed")
AddRecord = Callable[..., UUID]
Turn = Callable[[AsyncSession, UUID, Moment], Awaitable[CallPage]]


async def _settle(billing: Billing, what: Charge) -> None:
    async with billing.service.transaction() as session:
        assert await book(session, what) is not None


async def _settle_and_fail(billing: Billing, what: Charge) -> None:
    async with billing.service.transaction() as session:
        assert await book(session, what) is not None
        await session.execute(text("select 1 / 0"))


async def _all_sums_differ(billing: Billing) -> list[Difference]:
    """Where the sums of today, over all users and for each, aren't the ledger."""
    reports = UsageReports(billing.service, base_usd={}, caps={})
    today = await reports.today("tests")
    # A test that runs over midnight has both days.
    span = Span(today - timedelta(days=1), today)
    return [each async for each in reports.compare("tests", span)]


@pytest.fixture
def add_record(sql: Sql) -> AddRecord:
    """A line of the ledger at any time, with its reservation; its id."""

    def add(
        user_id: UUID,
        at: datetime,
        *,
        tokens: int = 10,
        asked: str = "m-large",
        answered: str = "m-large",
        purpose: str = "reply",
        period: str = "period-before",
        conversation: UUID | None = None,
    ) -> UUID:
        sql(
            "insert into quota_periods (user_id, period_key, period_start, period_end, included)"
            " values (%s, %s, '2000-01-01', '2000-02-01', 1) on conflict do nothing",
            user_id,
            period,
        )
        reservation = uuid4()
        sql(
            "insert into reservations (id, user_id, purpose, plan, model, period_key, tokens,"
            " cost_usd, prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier,"
            " state, lease_expires_at, closed_at) values (%s, %s, %s, 'free', %s, %s, 0, 0, 1, 1, 1,"
            " 1, current_date, true, 'settled', now(), now())",
            reservation,
            user_id,
            purpose,
            asked,
            period,
        )
        ((made,),) = sql(
            "insert into usage_records (reservation_id, user_id, conversation_id, purpose, plan,"
            " model, provider, prompt_tokens, completion_tokens, counted_by, weight, quota_tokens,"
            " period_key, input_usd_per_million, output_usd_per_million, price_version, cost_usd,"
            " outcome, created_at) values (%s, %s, %s, %s, 'free', %s, 'demo', 3, 4, 'provider', 1,"
            " %s, %s, 1, 1, 'tests', 0.000153, 'done', %s) returning id",
            reservation,
            user_id,
            conversation,
            purpose,
            answered,
            tokens,
            period,
            at,
        )
        assert isinstance(made, UUID)
        return made

    return add


@pytest.fixture
def today(sql: Sql) -> date:
    ((day,),) = sql("select (now() at time zone 'UTC')::date")
    assert isinstance(day, date)
    return day


def _at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


async def _overview(billing: Billing, user_id: UUID, limit: int = 1000) -> Overview:
    async with billing.user.as_user(user_id) as session:
        return await ledger_store.overview(session, user_id, None, Limits(limit))


# The sums


async def test_sums_are_the_ledger_after_many_settlings_at_once(billing: Billing) -> None:
    quota, dice = billing.quota(), random.Random(7)
    people = [uuid4() for _ in range(5)]
    models = [replace(model("2.5", "3"), id=name) for name in ("m-large", "m-small")]

    async def call(user_id: UUID) -> None:
        mine = claim(
            user_id, of=dice.choice(models), purpose=dice.choice(("reply", "reply", "title"))
        )
        booked = replace(
            charge(mine, dice.randrange(1, 300), prompt=dice.randrange(1, 99)),
            outcome=dice.choice(OUTCOMES),
        )
        # Reserving and settling take the same rows from both ends of a call.
        await quota.reserve(mine)
        await _settle(billing, booked)

    await asyncio.gather(*(call(dice.choice(people)) for _ in range(300)))
    days = billing.sql(DAYS, people)
    assert days == billing.sql(LEDGER, people)
    assert sum(int(str(row[6])) for row in days) == 300
    assert await _all_sums_differ(billing) == []
    for user_id in people:
        assert billing.sql(
            "select sum(quota_tokens)::int from usage_days where user_id = %s", user_id
        ) == [(billing.held(user_id)[0],)]


async def test_settling_in_any_order_in_one_transaction_waits_and_never_deadlocks(
    billing: Billing, someone: UUID
) -> None:
    quota = billing.quota()
    models = [replace(model(), id=f"m-{n}") for n in range(4)]
    claims = [claim(someone, of=each) for each in models for _ in range(10)]
    for each in claims:
        await quota.reserve(each)
    random.Random(7).shuffle(claims)

    async def settle_two(first: ReservationRequest, second: ReservationRequest) -> None:
        async with billing.service.transaction() as session:
            for each in (first, second):
                assert await book(session, charge(each, 10)) is not None

    # One way round and the other: without the period's lock before it, the days' would cross.
    await asyncio.gather(
        *(settle_two(*pair) for pair in zip(claims[::2], claims[1::2], strict=True))
    )
    assert billing.sql(DAYS, [someone]) == billing.sql(LEDGER, [someone])
    assert len(billing.sql(DAYS, [someone])) == 4


async def test_one_statement_with_many_lines_is_summed_as_a_whole(
    billing: Billing, someone: UUID
) -> None:
    billing.sql(
        "insert into usage_records (reservation_id, user_id, purpose, plan, model, provider,"
        " prompt_tokens, completion_tokens, counted_by, weight, quota_tokens, period_key,"
        " input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome,"
        " created_at) select gen_random_uuid(), %s, 'reply', 'free', 'm-' || n %% 3, 'demo', n, 1,"
        " 'estimate', 1, n + 1, 'p', 1, 1, 'tests', 0.000001 * n, 'done',"
        " now() - n * interval '5 hours' from generate_series(1, 500) n",
        someone,
    )
    assert billing.sql(DAYS, [someone]) == billing.sql(LEDGER, [someone]) != []


async def test_call_that_was_reserved_yesterday_counts_when_it_settles_however_it_ended(
    billing: Billing, someone: UUID, today: date
) -> None:
    claims = [claim(someone) for _ in OUTCOMES]
    for each in claims:
        await billing.quota().reserve(each)
    billing.sql(
        "update reservations set spend_day = spend_day - 1, created_at = now() - interval '1 day'"
        " where user_id = %s",
        someone,
    )
    # What they hold of the day before is given back there.
    billing.sql(
        "insert into spend_days (day, scope, reserved_usd) values (%s, 'free', 1), (%s, 'total', 1)"
        " on conflict (day, scope) do update set reserved_usd = spend_days.reserved_usd + 1",
        *[today - timedelta(days=1)] * 2,
    )
    await asyncio.gather(
        *(
            _settle(billing, replace(charge(each, 10), outcome=outcome))
            for each, outcome in zip(claims, OUTCOMES, strict=True)
        )
    )
    assert billing.sql(
        "select days::int, requests::int, stopped::int, interrupted::int, failed::int"
        " from private.usage_by_user where user_id = %s order by 1",
        someone,
    ) == [(days, 4, 1, 1, 1) for days in (1, 4, 16, 64)]
    assert await _all_sums_differ(billing) == []


async def test_line_says_what_it_costs_beyond_what_is_included_and_credits_pay(
    billing: Billing, someone: UUID
) -> None:
    billing.sql(
        "insert into credit_grants (user_id, tokens, reason, granted_by)"
        " values (%s, 30, 'tests', 'tests')",
        someone,
    )

    async def line(tokens: int, *, customer: str | None = "cus") -> tuple[object, ...]:
        mine = claim(someone, prompt=0, max_tokens=tokens, limit=100, overage=500, free=False)
        await billing.quota().reserve(mine)
        priced = replace(charge(mine, tokens, customer=customer), overage_usd_per_million=PRICE)
        await _settle(billing, priced)
        ((found),) = billing.sql(
            "select credit_tokens::int, overage_tokens::int, overage_usd from usage_records"
            " where reservation_id = %s",
            mine.request_id,
        )
        return found

    assert await line(90) == (0, 0, 0)
    # Ten are included, thirty are a gift, and the rest costs extra.
    assert await line(60) == (30, 20, Decimal("0.000067"))
    assert await line(7) == (0, 7, Decimal("0.000023"))
    # Nobody is asked for it.
    assert await line(7, customer=None) == (0, 0, 0)
    ((micros,),) = billing.sql(
        "select overage_micros::int from private.usage_by_user where user_id = %s and days = 64",
        someone,
    )
    assert micros == 67 + 23


async def test_line_that_is_rolled_back_is_not_summed(billing: Billing, someone: UUID) -> None:
    mine = claim(someone)
    await billing.quota().reserve(mine)
    with pytest.raises(DBAPIError):
        await _settle_and_fail(billing, charge(mine, 10))
    assert billing.sql(DAYS, [someone]) == []
    await _settle(billing, charge(mine, 10))
    assert billing.sql(DAYS, [someone]) == billing.sql(LEDGER, [someone]) != []


@pytest.mark.parametrize("who", ["owner", "service"])
@pytest.mark.parametrize(
    "change",
    [
        "update public.usage_days set quota_tokens = 0",
        "delete from public.usage_days",
        "insert into public.usage_days select * from public.usage_days",
        "select private.sum_usage_by_day()",
        "select private.sum_usage()",
        "update private.usage_totals set cost_usd = 0",
        "delete from private.usage_by_user",
    ],
)
async def test_nobody_but_the_ledger_writes_the_sums(
    billing: Billing, someone: UUID, who: str, change: str
) -> None:
    acting = billing.user.as_user(someone) if who == "owner" else billing.service.transaction()
    with pytest.raises(ProgrammingError) as caught:
        async with acting as session:
            await session.execute(text(change))
    assert isinstance(caught.value.orig, psycopg.errors.InsufficientPrivilege)


# What a page reads


async def test_page_of_someone_without_any_use_is_empty(
    billing: Billing, someone: UUID, today: date
) -> None:
    page = await _overview(billing, someone)
    assert (page.allowance.used, page.allowance.left, page.today) == (0, 1000, today)
    assert (page.days, page.refused) == ((), ())
    assert page.calls == CallPage((), older=False, newer=False)


async def test_page_is_ones_own_even_for_a_neighbour_in_the_same_database(
    billing: Billing, someone: UUID, add_record: AddRecord, today: date
) -> None:
    add_record(someone, _at(today))
    async with billing.user.as_user(uuid4()) as session:
        page = await ledger_store.overview(session, someone, None, Limits(1000))
    assert page.days == ()
    assert page.calls.calls == ()


async def test_days_of_this_period_are_what_the_allowance_counts(
    billing: Billing, someone: UUID, add_record: AddRecord, today: date
) -> None:
    mine = claim(someone, of=replace(model("2"), id="m-small"))
    await billing.quota().reserve(mine)
    await _settle(billing, charge(mine, 40, prompt=10))
    # The same day, but reserved before the period began.
    add_record(someone, _at(today, 0), tokens=7)
    page = await _overview(billing, someone)
    assert (page.allowance.used, page.allowance.reserved, page.allowance.limit) == (100, 0, 1000)
    found = {(use.model, use.in_period): (use.day, use.replies, use.tokens) for use in page.days}
    assert found == {("m-small", True): (today, 1, 100), ("m-large", False): (today, 1, 7)}


async def test_days_go_back_thirty_and_titles_are_no_replies(
    billing: Billing, someone: UUID, add_record: AddRecord, today: date
) -> None:
    add_record(someone, _at(today - timedelta(days=29)), tokens=5)
    add_record(someone, _at(today - timedelta(days=29)), tokens=1, purpose="title")
    add_record(someone, _at(today - timedelta(days=30)), tokens=9)
    page = await _overview(billing, someone)
    assert [(use.day, use.replies, use.tokens) for use in page.days] == [
        (today - timedelta(days=29), 1, 6)
    ]
    assert len(page.calls.calls) == 3


async def test_receipt_names_who_was_asked_and_who_answered_and_keeps_every_digit(
    billing: Billing, someone: UUID, add_record: AddRecord, today: date
) -> None:
    made = add_record(someone, _at(today), asked="m-large", answered="m-small", tokens=12)
    ((call),) = (await _overview(billing, someone)).calls.calls
    assert call == Call(
        id=made,
        at=_at(today),
        purpose="reply",
        conversation_id=None,
        title=None,
        asked="m-large",
        model="m-small",
        prompt_tokens=3,
        completion_tokens=4,
        quota_tokens=12,
        overage_usd=Decimal(0),
        cost_usd=Decimal("0.000153"),
        outcome="done",
    )


async def test_paging_meets_every_receipt_once_in_either_direction(
    billing: Billing, someone: UUID, add_record: AddRecord, today: date
) -> None:
    # Several of the same instant, around the ends of pages too.
    made = [add_record(someone, _at(today, 10 - n // 5)) for n in range(45)]

    async def page(turn: Turn, call: Call) -> CallPage:
        async with billing.user.as_user(someone) as session:
            return await turn(session, someone, Cursor(call.at, call.id))

    first = (await _overview(billing, someone)).calls
    second = await page(ledger_store.older_calls, first.calls[-1])
    third = await page(ledger_store.older_calls, second.calls[-1])
    assert [(p.newer, p.older, len(p.calls)) for p in (first, second, third)] == [
        (False, True, 20),
        (True, True, 20),
        (True, False, 5),
    ]
    seen = [call for part in (first, second, third) for call in part.calls]
    assert {call.id for call in seen} == set(made)
    assert seen == sorted(seen, key=lambda call: (call.at, call.id), reverse=True)
    assert await page(ledger_store.newer_calls, third.calls[0]) == second
    back = await page(ledger_store.newer_calls, second.calls[0])
    assert (back.calls, back.newer, back.older) == (first.calls, False, True)
