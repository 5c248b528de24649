"""What admins read of all usage is the ledger, for any span and however it is sorted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import get_args
from uuid import UUID, uuid4

import pytest

from aisaas.admin.usage import PAGE_USERS, UsageReports
from aisaas.billing.ledger.usage_models import Direction, Figures, ProviderErrors, Span, UserSort
from aisaas.billing.ledger.usage_reports import FIGURES, WIDTHS, blocks
from aisaas.db.service import ServiceDatabase
from aisaas.errors import NotFound
from aisaas.wiring import Services
from tests.admin.lines import Line, append, own_days
from tests.admin.members import new_admin
from tests.services import Build, Database, Member, new_member, whole

OUTCOMES = ("done", "stopped", "interrupted", "failed")


@pytest.fixture
async def admin(services: Services, database: Database) -> Member:
    return await new_admin(services, database)


@pytest.fixture
def begin() -> date:
    return own_days()


@pytest.fixture
def reports(service: ServiceDatabase) -> UsageReports:
    """Of an install that sells one plan, and has caps of its own."""
    return UsageReports(
        service,
        base_usd={"pro": Decimal(20)},
        caps={"free": Decimal("2.5"), "total": Decimal(40)},
    )


def at(day: date, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def lines(begin: date, days: int, users: Sequence[UUID], number: int, seed: int) -> list[Line]:
    dice = random.Random(seed)
    kinds = (("m-large", "acme", "pro"), ("m-small", "acme", "free"), ("m-other", "zeta", "free"))
    found: list[Line] = []
    for _ in range(number):
        model, provider, plan = dice.choice(kinds)
        found.append(
            Line(
                user_id=dice.choice(users),
                at=at(begin) + timedelta(minutes=dice.randrange(days * 1440) - 720),
                model=model,
                provider=provider,
                plan=plan,
                purpose=dice.choice(("reply", "reply", "title")),
                prompt=dice.randrange(500),
                cached=dice.randrange(9),
                completion=dice.randrange(500),
                cost=Decimal(dice.randrange(10**6)) / 10**6,
                overage=Decimal(dice.randrange(10**4)) / 10**6 if plan == "pro" else Decimal(0),
                outcome=dice.choice(OUTCOMES),
            )
        )
    return found


def summed(of: Sequence[Line]) -> Figures:
    """The figures of lines, counted here."""
    return Figures(
        requests=len(of),
        stopped=sum(line.outcome == "stopped" for line in of),
        interrupted=sum(line.outcome == "interrupted" for line in of),
        failed=sum(line.outcome == "failed" for line in of),
        prompt_tokens=sum(line.prompt for line in of),
        cached_prompt_tokens=sum(line.cached for line in of),
        completion_tokens=sum(line.completion for line in of),
        quota_tokens=sum(line.prompt + line.completion for line in of),
        cost_usd=sum((line.cost for line in of), Decimal(0)),
        overage_usd=sum((line.overage for line in of), Decimal(0)),
    )


def within(of: Sequence[Line], span: Span) -> list[Line]:
    return [line for line in of if span.start <= line.at < span.end]


# Spans


@pytest.mark.parametrize("length", [1, 3, 4, 30, 63, 64, 65, 150, 400])
def test_blocks_are_exactly_the_span_and_few(length: int) -> None:
    for offset in range(130):
        first = date(2026, 1, 1) + timedelta(days=offset)
        span = Span(first, first + timedelta(days=length - 1))
        covered: list[date] = []
        number = 0
        for width, begins, ends in blocks(span):
            for block in range(0, (ends - begins).days + 1, width):
                number += 1
                covered += [begins + timedelta(days=block + day) for day in range(width)]
        assert covered == [first + timedelta(days=day) for day in range(length)]
        assert number <= 18 + length // WIDTHS[0]


def test_span_that_ends_before_it_begins_or_is_endless_is_refused() -> None:
    with pytest.raises(ValueError, match="before the first"):
        Span(date(2026, 2, 1), date(2026, 1, 31))
    with pytest.raises(ValueError, match="at most"):
        Span(date(1990, 1, 1), date(2026, 1, 31))
    with pytest.raises(ValueError, match="isoformat"):
        Span.of("yesterday", "2026-01-31")


# The report


async def test_report_is_the_ledger_by_day_model_provider_and_plan(
    reports: UsageReports, database: Database, begin: date
) -> None:
    people = [uuid4() for _ in range(7)]
    made = lines(begin, 100, people, 600, seed=7)
    append(database, made)
    span = Span(begin + timedelta(days=9), begin + timedelta(days=71))
    mine = within(made, span)
    found = await reports.report("tests", span)
    assert found.total.figures == summed(mine)
    assert found.active_users == len({line.user_id for line in mine})
    assert [point.at for point in found.series] == [
        at(span.first, 0) + timedelta(days=n) for n in range(span.days)
    ]
    for point in found.series:
        day = Span(point.at.date(), point.at.date())
        assert point.earned.figures == summed(within(mine, day))
    names: dict[str, Callable[[Line], str]] = {
        "models": lambda line: line.model,
        "providers": lambda line: line.provider,
        "plans": lambda line: line.plan,
    }
    for shares, name in names.items():
        shown = {share.name: share.earned.figures for share in getattr(found, shares)}
        assert shown == {
            each: summed([line for line in mine if name(line) == each]) for each in map(name, mine)
        }
        costs = [figures.cost_usd for figures in shown.values()]
        assert costs == sorted(costs, reverse=True)


async def test_report_by_the_hour_has_every_hour_and_no_more_than_a_chart_shows(
    reports: UsageReports, database: Database, begin: date
) -> None:
    made = [Line(user_id=uuid4(), at=at(begin, hour, 59)) for hour in (0, 0, 23)]
    append(database, made)
    found = await reports.report("tests", Span(begin, begin), step="hour")
    assert [point.earned.figures.requests for point in found.series] == [2, *[0] * 22, 1]
    assert sum((p.earned.figures for p in found.series), Figures()) == found.total.figures
    with pytest.raises(ValueError, match="By the hour"):
        await reports.report("tests", Span(begin, begin + timedelta(days=31)), step="hour")


async def test_revenue_is_overage_and_base_prices_of_days_in_good_standing(
    reports: UsageReports, services: Services, database: Database, begin: date
) -> None:
    owner = (await new_member(services)).principal.user_id
    (day2, day4, day5, day9) = (at(begin + timedelta(days=n)) for n in (2, 4, 5, 9))
    subscriptions: tuple[tuple[str, datetime, datetime | None, datetime | None, datetime], ...] = (
        # All ten days; from the trial's end; until it owed; and until it was ended.
        ("active", at(begin - timedelta(days=400)), None, None, day9),
        ("active", at(begin), day4, None, day9),
        ("past_due", at(begin), None, day5, day9),
        ("canceled", at(begin), None, None, day2),
        # None: a trial that goes on, one that was never paid, another plan.
        ("trialing", at(begin), at(begin + timedelta(days=30)), None, day9),
        ("incomplete", at(begin), None, None, day9),
    )
    made: list[str] = []
    for status, created, trial_end, unpaid, updated in subscriptions:
        made.append(f"sub_{uuid4().hex}")
        database(
            "insert into subscriptions (id, user_id, stripe_customer_id, status, plan, created_at,"
            " trial_end, past_due_since, updated_at) values (%s, %s, 'cus', %s, 'pro', %s, %s, %s,"
            " %s)",
            *(made[-1], owner, status, created, trial_end, unpaid, updated),
        )
    append(
        database,
        [Line(user_id=owner, at=day2, plan="pro", cost=Decimal("0.3"), overage=Decimal("0.5"))],
    )
    found = await reports.report("tests", Span(begin, begin + timedelta(days=9)))
    database("delete from subscriptions where id = any(%s)", made)
    paid = [3, 3, 2, 2, 3, 2, 2, 2, 2, 2]
    a_day = Decimal("0.657534")
    assert [point.earned.subscriptions_usd / a_day for point in found.series] == paid
    assert found.total.subscriptions_usd / a_day == sum(paid)
    assert found.total.revenue_usd == found.total.subscriptions_usd + Decimal("0.5")
    assert found.total.margin_usd == found.total.revenue_usd - Decimal("0.3")
    (plan,) = found.plans
    assert plan.earned == found.total
    (share,) = found.models
    assert share.earned.margin_usd == Decimal("0.2")


async def test_free_tier_is_shown_against_the_cap_of_now(
    reports: UsageReports, services: Services, database: Database, begin: date
) -> None:
    database(
        "insert into spend_days (day, scope, spent_usd, reserved_usd)"
        " values (%s, 'free', 1.5, 0.25), (%s, 'total', 9, 0)",
        begin,
        begin,
    )
    span = Span(begin, begin + timedelta(days=1))
    (burn,) = (await reports.report("tests", span)).burn
    assert (burn.day, burn.free.spent_usd, burn.free.reserved_usd) == (
        begin,
        Decimal("1.5"),
        Decimal("0.25"),
    )
    before = burn.free.cap_usd
    await services.caps.set("free", Decimal(7), actor="operator:tests", reason="a look")
    try:
        (burn,) = (await reports.report("tests", span)).burn
        assert burn.free.cap_usd == Decimal(7) != before
    finally:
        await services.caps.set("free", None, actor="operator:tests", reason="looked")
    assert (await reports.report("tests", span)).burn[0].free.cap_usd == Decimal("2.5")


async def test_refusals_are_counted_by_code(
    reports: UsageReports, services: Services, database: Database, begin: date
) -> None:
    people = [(await new_member(services)).principal.user_id for _ in range(2)]
    for user_id, code, minute, times in (
        (people[0], "busy", 0, 3),
        (people[0], "busy", 1, 1),
        (people[1], "busy", 0, 1),
        (people[1], "quota_exceeded", 0, 9),
    ):
        database(
            "insert into refusals (user_id, code, minute, times) values (%s, %s, %s, %s)",
            *(user_id, code, at(begin, 3, minute), times),
        )
    found = (await reports.report("tests", Span(begin, begin))).refusals
    assert [(each.code, each.times, each.users) for each in found] == [
        ("quota_exceeded", 9, 1),
        ("busy", 5, 2),
    ]
    tomorrow = begin + timedelta(days=1)
    assert (await reports.report("tests", Span(tomorrow, tomorrow))).refusals == []


async def test_failure_of_a_provider_is_counted_though_another_model_answered(
    reports: UsageReports, build_services: Build
) -> None:
    async def counted() -> dict[str, int]:
        today = await reports.today("tests")
        errors = (await reports.report("tests", Span(today, today))).errors
        assert all(isinstance(each, ProviderErrors) and each.provider for each in errors)
        return {each.kind: each.times for each in errors if each.model == "broken"}

    before = await counted()
    # A process of its own: one that has seen the model fail asks another first.
    async with build_services() as services:
        asking = (await new_member(services)).principal
        started = await services.chat.send(asking, "Hello", conversation_id=None, model="broken")
        shown, message = await whole(services, asking, started)
    assert message.answered_by == "demo"
    assert shown
    after = await counted()
    assert sum(after.values()) == sum(before.values()) + 1


# Users


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("sort", get_args(UserSort))
async def test_users_are_sorted_and_summed_over_any_days(
    reports: UsageReports, database: Database, begin: date, sort: UserSort, direction: Direction
) -> None:
    people = [uuid4() for _ in range(9)]
    made = lines(begin, 150, people, 300, seed=11)
    append(database, made)
    dice = random.Random(f"{sort}{direction}")
    keys: dict[str, Callable[[Figures], object]] = {
        "requests": lambda f: f.requests,
        "tokens": lambda f: f.tokens,
        "cost": lambda f: f.cost_usd,
        "overage": lambda f: f.overage_usd,
        "errors": lambda f: f.errors,
        "email": lambda f: 0,
    }
    for _ in range(4):
        first = begin + timedelta(days=dice.randrange(100))
        span = Span(first, first + timedelta(days=dice.randrange(90)))
        page = await reports.users("tests", span, sort=sort, direction=direction)
        mine = within(made, span)
        shown = {user.user_id: user.figures for user in page.users}
        assert shown == {
            user_id: summed([line for line in mine if line.user_id == user_id])
            for user_id in {line.user_id for line in mine}
        }
        assert page.total == len(shown)
        order = [keys[sort](figures) for figures in shown.values()]
        assert order == sorted(order, reverse=direction == "down")  # pyright: ignore[reportArgumentType, reportCallIssue]


async def test_pages_show_every_user_once_and_end(
    reports: UsageReports, database: Database, begin: date
) -> None:
    people = {uuid4() for _ in range(PAGE_USERS * 2 + 3)}
    append(database, [Line(user_id=user_id, at=at(begin)) for user_id in people])
    span = Span(begin, begin)
    pages = [await reports.users("tests", span, page=number) for number in (1, 2, 3)]
    assert [len(page.users) for page in pages] == [PAGE_USERS, PAGE_USERS, 3]
    assert {(page.pages, page.total) for page in pages} == {(3, len(people))}
    assert {user.user_id for page in pages for user in page.users} == people
    assert await reports.users("tests", span, page=4000) == pages[2]
    assert await reports.users("tests", span, page=0) == pages[0]


async def test_users_are_found_by_address_or_id_and_stay_when_the_account_is_gone(
    reports: UsageReports, services: Services, database: Database, begin: date
) -> None:
    ada, gone = (await new_member(services)).principal, uuid4()
    odd = (await new_member(services)).principal.user_id
    database("update profiles set email = %s where id = %s", f"100%_{odd}@example.com", odd)
    append(database, [Line(user_id=each, at=at(begin)) for each in (ada.user_id, gone, odd)])
    span = Span(begin, begin)

    async def found(search: str) -> set[tuple[UUID, str | None]]:
        page = await reports.users("tests", span, search=search, sort="email", direction="up")
        return {(user.user_id, user.email) for user in page.users}

    everybody = {
        (ada.user_id, ada.email),
        (gone, None),
        (odd, f"100%_{odd}@example.com"),
    }
    assert await found("") == everybody
    assert await found(ada.email[:12].upper()) == {(ada.user_id, ada.email)}
    assert await found(str(gone)) == {(gone, None)}
    assert await found("0%_") == {(odd, f"100%_{odd}@example.com")}
    assert await found("nobody at all") == set()
    empty = await reports.users("tests", span, search="nobody at all", page=3)
    assert (empty.users, empty.page, empty.pages, empty.total) == ((), 1, 1, 0)


async def test_an_order_that_does_not_exist_is_refused(reports: UsageReports, begin: date) -> None:
    span = Span(begin, begin)
    with pytest.raises(ValueError, match="order"):
        await reports.users("tests", span, sort="password")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="order"):
        await reports.users("tests", span, direction="; drop")  # pyright: ignore[reportArgumentType]


# Now


async def test_live_counts_running_replies_of_every_worker_and_not_the_abandoned(
    reports: UsageReports, database: Database, services: Services
) -> None:
    user_id = (await new_member(services)).principal.user_id
    database(
        "insert into quota_periods (user_id, period_key, period_start, period_end, included)"
        " values (%s, 'p', now(), now() + interval '1 day', 1)",
        user_id,
    )
    before = await reports.live("tests")
    for purpose, lease, state in (
        ("reply", "1 hour", "open"),
        ("reply", "1 hour", "open"),
        ("reply", "-1 second", "settled"),
        ("title", "1 hour", "open"),
    ):
        database(
            "insert into reservations (id, user_id, purpose, plan, model, period_key, tokens,"
            " cost_usd, prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier,"
            " state, lease_expires_at, closed_at) values (gen_random_uuid(), %s, %s, 'free', 'demo',"
            " 'p', 0, 0, 1, 1, 1, 1, current_date, true, %s, now() + %s::interval,"
            " case when %s = 'open' then null else now() end)",
            *(user_id, purpose, state, lease, state),
        )
    append(database, [Line(user_id=user_id, at=datetime.now(UTC)) for _ in range(3)])
    now = await reports.live("tests")
    database(
        "update reservations set state = 'released', closed_at = now()"
        " where user_id = %s and state = 'open'",
        user_id,
    )
    assert now.running >= before.running + 2
    assert (await reports.live("tests")).running <= now.running - 2
    assert now.requests_a_minute >= 3
    assert now.free.cap_usd == Decimal("2.5")
    assert now.total.cap_usd == Decimal(40)
    assert now.total.spent_usd >= now.free.spent_usd >= 0


# Who may look


async def test_nobody_but_an_admin_reads_any_of_it(
    services: Services, admin: Member, begin: date
) -> None:
    reports, span = services.usage_reports, Span(begin, begin)
    assert (await reports.report(admin.principal, span)).total.figures == Figures()
    stranger = (await new_member(services)).principal
    demoted = replace(admin.principal, role="user")
    for reader in (stranger, demoted):
        for asking in (
            reports.report(reader, span),
            reports.users(reader, span),
            reports.live(reader),
            reports.today(reader),
            reports.first_day(reader),
            anext(reports.rows(reader, span, by="user")),
            anext(reports.rows(reader, span, by="day")),
            anext(reports.compare(reader, span)),
        ):
            with pytest.raises(NotFound):
                await asking


# The sums against the ledger


async def differences(reports: UsageReports, span: Span) -> dict[str, tuple[str, str]]:
    return {
        f"{each.table}: {each.row}": (each.ledger, each.sums)
        async for each in reports.compare("tests", span)
    }


async def test_sums_are_the_ledger_of_every_day_and_a_changed_one_is_reported(
    reports: UsageReports, database: Database, begin: date
) -> None:
    user_id = uuid4()
    append(database, lines(begin + timedelta(days=20), 40, [user_id, uuid4()], 200, seed=13))
    day = begin + timedelta(days=30)
    append(
        database, [Line(user_id=user_id, at=at(day, 5), model="m-odd", cost=Decimal("0.000002"))]
    )
    span = Span(begin, begin + timedelta(days=70))
    assert await differences(reports, span) == {}

    database(
        "update private.usage_totals set completion_tokens = 5, cost_usd = 0.000003"
        " where model = 'm-odd' and step = 'hour' and starts = %s",
        at(day, 5),
    )
    database(
        "delete from private.usage_by_user where days = 1 and starts = %s and user_id = %s",
        *(day, user_id),
    )
    database(
        "insert into private.usage_totals select 'day', starts, 'm-none', provider, plan, purpose,"
        " requests, stopped, interrupted, failed, prompt_tokens, cached_prompt_tokens,"
        " completion_tokens, quota_tokens, cost_usd, overage_usd from private.usage_totals"
        " where model = 'm-odd' and step = 'day' and starts = %s",
        at(day, 0),
    )
    database(
        "update usage_days set done = done + 1, requests = requests + 1"
        " where model = 'm-odd' and day = %s and user_id = %s",
        *(day, user_id),
    )
    found = await differences(reports, span)
    hour = next(sides for row, sides in found.items() if row.startswith("usage_totals by hour"))
    assert hour == (
        "completion_tokens 4, cost_usd 0.000002",
        "completion_tokens 5, cost_usd 0.000003",
    )
    none = next(sides for row, sides in found.items() if "m-none" in row)
    assert none[0] == "no row"
    assert none[1].startswith("requests 1, ")
    missing = found[f"usage_by_user of 1 day: {day} {user_id}"]
    assert missing[1] == "no row"
    assert found[f"usage_days: {day} {user_id} tests m-odd free reply"] == (
        "requests 1, done 1",
        "requests 2, done 2",
    )
    # What is made of the row that is gone has more than its parts now.
    wider = [row for row in found if row.startswith("usage_by_user of 4 days")]
    assert len(wider) == 1
    assert len(found) == 5


async def test_settling_late_and_in_pieces_counts_when_it_is_settled(
    reports: UsageReports, database: Database, begin: date
) -> None:
    # Around midnight, and an hour that two statements add to.
    user_id = uuid4()
    last, first = at(begin, 23, 59), at(begin + timedelta(days=1), 0, 0)
    for _ in range(2):
        append(
            database,
            [Line(user_id=user_id, at=when, outcome="interrupted") for when in (last, first)],
        )
    span = Span(begin, begin + timedelta(days=1))
    assert await differences(reports, span) == {}
    found = await reports.report("tests", span)
    assert [point.earned.figures.interrupted for point in found.series] == [2, 2]
    (user,) = (await reports.users("tests", Span(begin, begin))).users
    assert (user.figures.requests, user.figures.errors) == (2, 2)


def test_every_figure_has_a_column_of_its_own() -> None:
    assert tuple(Figures.__dataclass_fields__) == FIGURES
