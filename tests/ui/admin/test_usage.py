"""The page of all users' usage: what it shows, to whom, and what its actions do."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from aisaas.billing.ledger.usage_models import (
    Burn,
    Earned,
    Figures,
    Live,
    Point,
    ProviderErrors,
    RefusedFor,
    Report,
    Share,
    Span,
    Spent,
)
from aisaas.ui.admin.usage import live, view
from aisaas.ui.admin.usage.live import LiveFigures
from aisaas.ui.admin.usage.state import Usage
from aisaas.ui.admin.view import OrderView
from aisaas.wiring import Services
from tests.admin.members import new_admin, new_user
from tests.services import Database, Member, new_member
from tests.ui.tabs import JUNK, Tab, by_name, open_tab

PAGE = "/admin"
POLL_SECONDS = 0.02
HANDLERS: dict[Any, dict[str, Any]] = {
    Usage.load: {},
    Usage.choose_days: {"days": "7"},
    Usage.choose_span: {"form": {"first": "2026-01-01", "last": "2026-01-31"}},
    Usage.choose_step: {"step": "hour"},
    Usage.choose_split: {"split": "plans"},
    Usage.sort_shares: {"key": "requests"},
    Usage.find: {"form": {"search": "ada"}},
    Usage.sort_users: {"key": "email"},
    Usage.earlier: {},
    Usage.later: {},
    LiveFigures.watch: {},
}
TAKEN: dict[Any, str] = {
    Usage.choose_days: "days",
    Usage.choose_span: "form",
    Usage.choose_step: "step",
    Usage.choose_split: "split",
    Usage.sort_shares: "key",
    Usage.sort_users: "key",
}

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tab of a test has no socket; it is there unless a test says so."""
    monkeypatch.setattr(live, "has_socket", lambda _: False)
    monkeypatch.setattr(live, "LOOK_SECONDS", POLL_SECONDS)


@pytest.fixture
async def admin(domain: Services, database: Database) -> Member:
    return await new_admin(domain, database)


def lines(database: Database, member: Member, day: date, count: int = 1, **values: object) -> None:
    """Lines of the ledger, a minute apart from midnight on."""
    columns = {"model": "demo", "provider": "demo", "plan": "free", "prompt_tokens": 10}
    columns |= {"completion_tokens": 5, "cost_usd": Decimal("0.01"), "outcome": "done", **values}
    database(
        "insert into usage_records (reservation_id, user_id, purpose, counted_by, weight, quota_tokens,"
        " period_key, input_usd_per_million, output_usd_per_million, price_version, created_at,"
        f" {', '.join(columns)})"
        " select gen_random_uuid(), %s, 'reply', 'provider', 1, 15, 'tests', 1, 1, 'tests',"
        f" %s + n * interval '1 minute', {', '.join(['%s'] * len(columns))}"
        " from generate_series(0, %s) n",
        member.principal.user_id,
        datetime(day.year, day.month, day.day, tzinfo=UTC),
        *columns.values(),
        count - 1,
    )


@pytest.fixture
def day() -> date:
    """One that no other test uses."""
    return date(1960, 1, 1) + timedelta(days=uuid4().int % 9000)


async def looking_at(tab: Tab, first: date, last: date) -> None:
    await tab.call(Usage.load, path=PAGE)
    days = {"first": first.isoformat(), "last": last.isoformat()}
    await tab.call(Usage.choose_span, path=PAGE, form=days)


def test_every_handler_of_the_page_is_tried() -> None:
    own = {f"Usage.{name}" for name in Usage.event_handlers if name in vars(Usage)}
    own |= {
        f"LiveFigures.{name}" for name in LiveFigures.event_handlers if name in vars(LiveFigures)
    }
    assert {by_name(handler) for handler in HANDLERS} == own - {
        "Usage.setvar",
        "LiveFigures.setvar",
    }


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
async def test_others_find_nothing_here(domain: Services, database: Database, handler: Any) -> None:
    member = await new_user(domain, database)
    async with open_tab(member.cookie) as tab:
        await tab.call(handler, path=PAGE, **HANDLERS[handler])
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True
        assert tab.vars["usage.report"] == view.ReportView()
        assert tab.vars["usage.users"].rows == []
        assert tab.vars["live_figures.now"] == view.LiveView()


@pytest.mark.parametrize("handler", HANDLERS, ids=by_name)
async def test_a_role_that_is_taken_away_is_gone_with_the_next_click(
    admin: Member, database: Database, handler: Any
) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Usage.load, path=PAGE)
        assert not tab.refused
        database("update profiles set role = 'user' where id = %s", admin.principal.user_id)
        await tab.call(handler, path=PAGE, **HANDLERS[handler])
        assert tab.refused == "not_found"
        assert tab.vars["area.nowhere"] is True


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:20])
async def test_junk_changes_nothing(admin: Member, junk: Any) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Usage.load, path=PAGE)
        before = tab.vars["usage.span"]
        for handler, argument in TAKEN.items():
            await tab.call(handler, path=PAGE, **{argument: junk})
            assert tab.refused == "action_invalid"
        await tab.call(Usage.choose_span, path=PAGE, form={"first": junk, "last": junk})
        assert tab.refused == "action_invalid"
        await tab.call(Usage.find, path=PAGE, form={"search": junk})
        assert not tab.refused
        assert tab.vars["usage.span"] == before


async def test_days_that_lie_the_wrong_way_round_are_refused_with_a_sentence(
    admin: Member,
) -> None:
    async with open_tab(admin.cookie) as tab:
        await looking_at(tab, date(2026, 2, 2), date(2026, 2, 1))
        assert tab.vars["notices.refusal"].sentence == "The last day is before the first."
        await looking_at(tab, date(2026, 2, 1), date(2026, 2, 2))
        assert not tab.refused


async def test_a_day_is_shown_in_all_its_figures(
    admin: Member, database: Database, day: date
) -> None:
    lines(database, admin, day, 3)
    lines(database, admin, day, 1, outcome="interrupted", model="elsewhere")
    async with open_tab(admin.cookie) as tab:
        await looking_at(tab, day, day)
        report = tab.vars["usage.report"]
        tiles = {tile.name: tile.figure for tile in report.tiles}
        assert tiles["Requests"] == "4"
        assert (tiles["Model tokens in"], tiles["Model tokens out"]) == ("40", "20")
        assert (tiles["Cost"], tiles["Active users"]) == ("$0.04", "1")
        assert [share.name for share in report.shares] == ["Demo", "elsewhere"]
        assert len(report.chart.points) == 1
        await tab.call(Usage.choose_step, path=PAGE, step="hour")
        chart = tab.vars["usage.report"].chart
        assert (chart.by, len(chart.points)) == ("hour", 24)
        assert chart.measures[0].series[0].amounts[:2] == [3, 0]
        await tab.call(Usage.choose_split, path=PAGE, split="providers")
        assert [share.requests for share in tab.vars["usage.report"].shares] == ["4"]


async def test_users_are_sorted_searched_and_paged(
    domain: Services, admin: Member, database: Database, day: date
) -> None:
    other = await new_member(domain)
    lines(database, admin, day, 2)
    lines(database, other, day, 1, cost_usd=Decimal(1))
    for _ in range(25):
        database(
            "insert into usage_records (reservation_id, user_id, purpose, counted_by, weight,"
            " quota_tokens, period_key, input_usd_per_million, output_usd_per_million, price_version,"
            " created_at, model, provider, plan, prompt_tokens, completion_tokens, cost_usd, outcome)"
            " values (gen_random_uuid(), gen_random_uuid(), 'reply', 'provider', 1, 1, 'tests', 1, 1,"
            " 'tests', %s, 'demo', 'demo', 'free', 1, 0, 0, 'done')",
            datetime(day.year, day.month, day.day, 9, tzinfo=UTC),
        )
    async with open_tab(admin.cookie) as tab:
        await looking_at(tab, day, day)
        rows = tab.vars["usage.users"].rows
        assert [row.email for row in rows[:3]] == [
            other.principal.email,
            admin.principal.email,
            view.GONE,
        ]
        assert tab.vars["usage.users"].pages.words == "1–25 of 27"
        await tab.call(Usage.later, path=PAGE)
        assert len(tab.vars["usage.users"].rows) == 2
        await tab.call(Usage.later, path=PAGE)
        assert tab.vars["usage.users"].pages.page == 2
        await tab.call(Usage.earlier, path=PAGE)
        await tab.call(Usage.earlier, path=PAGE)
        assert tab.vars["usage.users"].pages.page == 1
        await tab.call(Usage.sort_users, path=PAGE, key="requests")
        assert tab.vars["usage.users"].rows[0].email == admin.principal.email
        await tab.call(Usage.sort_users, path=PAGE, key="requests")
        assert tab.vars["usage.users"].rows[-1].requests == "1"
        await tab.call(Usage.find, path=PAGE, form={"search": other.principal.email})
        assert [row.cost for row in tab.vars["usage.users"].rows] == ["$1.00"]


async def test_a_span_too_long_for_hours_is_shown_by_day(admin: Member) -> None:
    async with open_tab(admin.cookie) as tab:
        await tab.call(Usage.load, path=PAGE)
        await tab.call(Usage.choose_step, path=PAGE, step="hour")
        assert tab.vars["usage.span"].step == "hour"
        await tab.call(Usage.choose_days, path=PAGE, days="90")
        assert not tab.refused
        assert (tab.vars["usage.span"].step, tab.vars["usage.span"].hourly) == ("day", False)


async def test_live_figures_come_without_being_asked_for_until_the_tab_is_gone(
    admin: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = True
    monkeypatch.setattr(live, "has_socket", lambda _: there)
    async with open_tab(admin.cookie) as tab:
        watching = asyncio.create_task(tab.call(Usage.load, path=PAGE))
        seen = set[str]()
        while len(seen) < 2:
            await asyncio.sleep(POLL_SECONDS)
            if "live_figures.now" in tab.vars:
                seen.add(tab.vars["live_figures.now"].at)
        there = False
        await watching
        assert not tab.refused


async def test_a_tab_that_watches_loses_the_page_with_the_role(
    admin: Member, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "has_socket", lambda _: True)
    async with open_tab(admin.cookie) as tab:
        watching = asyncio.create_task(tab.call(Usage.load, path=PAGE))
        while "live_figures.now" not in tab.vars:
            await asyncio.sleep(POLL_SECONDS)
        database("update profiles set role = 'user' where id = %s", admin.principal.user_id)
        await watching
        assert tab.vars["area.nowhere"] is True


# The view


def report(days: int = 2, **values: Any) -> Report:
    span = Span(date(2026, 3, 1), date(2026, 3, 1) + timedelta(days=days - 1))
    earned = Earned(
        Figures(requests=4, stopped=1, failed=1, prompt_tokens=20, cost_usd=Decimal("0.5")),
        Decimal(2),
    )
    points = [Point(span.start + timedelta(days=n), earned) for n in range(days)]
    given: dict[str, Any] = {
        "span": span,
        "step": "day",
        "total": earned,
        "active_users": 3,
        "series": points,
        "models": [],
        "providers": [],
        "plans": [],
        "refusals": [],
        "errors": [],
        "burn": [],
    }
    return Report(**(given | values))


NAMES = view.Names({"m": "Model M"}, {"pro": "Pro"})
TODAY = date(2026, 3, 2)


def tiles(found: Report) -> dict[str, tuple[str, str]]:
    return {tile.name: (tile.figure, tile.hint) for tile in view.tile_views(found)}


def test_tiles_tell_what_a_figure_is_made_of() -> None:
    burn = [
        Burn(date(2026, 3, 1), Spent(Decimal("0.25"), Decimal(0), Decimal(1))),
        Burn(date(2026, 3, 2), Spent(Decimal("0.5"), Decimal(0), Decimal(1))),
    ]
    found = tiles(
        report(
            refusals=[RefusedFor("busy", 3, 1), RefusedFor("quota_exceeded", 2, 2)],
            errors=[ProviderErrors("p", "m", "timeout", 7)],
            burn=burn,
        )
    )
    assert found["Requests"] == ("4", "1 stopped, 1 failed")
    assert found["Revenue"] == ("$2.00", "$2.00 plans, $0.00 extra usage")
    assert found["Margin"] == ("$1.50", "75% of revenue")
    assert (found["Refusals"][0], found["Provider errors"][0]) == ("5", "7")
    assert found["Free accounts"] == ("$0.75", "Up to 50% of the daily cap")


def test_a_loss_is_reported_as_one() -> None:
    found = tiles(report(total=Earned(Figures(cost_usd=Decimal("0.0004")))))
    assert found["Margin"] == ("−<$0.01", "")
    assert found["Cost"][0] == "<$0.01"


def test_many_days_share_a_bar_and_none_is_lost() -> None:
    chart = view.chart_view(report(days=1000), TODAY)
    assert len(chart.points) <= view.MOST_BARS
    assert chart.every == 6
    parts = chart.measures[0].series
    assert sum(sum(part.amounts) for part in parts) == 4000
    assert not chart.today
    assert len(chart.rows) == len(chart.points)
    assert chart.rows[-1][0].count("–") == 1


def test_the_free_tier_is_drawn_against_its_cap() -> None:
    burn = [Burn(date(2026, 3, 2), Spent(Decimal("0.5"), Decimal(0), Decimal(1)))]
    chart = view.chart_view(report(burn=burn), TODAY)
    free = chart.measures[-1]
    assert (free.cap, free.series[0].amounts) == (1.0, [0.0, 0.5])
    assert chart.today
    assert chart.heads == ["Day", *(each.label for each in chart.measures)]
    assert [row[0] for row in chart.rows] == sorted((row[0] for row in chart.rows), reverse=True)
    assert [row[-1] for row in chart.rows[:2]] == ["$0.500000", "$0.000000"]


def test_shares_are_in_the_order_that_was_asked_for_and_names_decide_a_draw() -> None:
    def share(name: str, requests: int) -> Share:
        return Share(name, Earned(Figures(requests=requests)))

    found = report(models=[share("b", 1), share("m", 5), share("a", 1)])
    down = view.share_views(found, NAMES, "models", OrderView("requests"))
    assert [each.name for each in down] == ["Model M", "a", "b"]
    up = view.share_views(found, NAMES, "models", OrderView("requests", down=False))
    assert [each.name for each in up] == ["a", "b", "Model M"]


def test_what_is_held_counts_against_the_cap() -> None:
    spent = Spent(Decimal("0.5"), Decimal("0.45"), Decimal(1))
    shown = view.live_view(Live(datetime(2026, 3, 1, tzinfo=UTC), 2, 30, 1, spent, spent))
    assert (shown.free.used, shown.free.words) == ("$0.95", "of $1.00, $0.45 reserved")
    assert (shown.free.percent, shown.free.level) == (95, "near")
    assert [tile.figure for tile in shown.tiles] == ["2", "30", "1"]


def test_an_account_that_is_gone_keeps_its_usage() -> None:
    user = view.UserUsage(UUID(int=1), None, None, Figures(requests=1))
    shown = view.users_view(view.UserPage([user], 1, 1, 1), OrderView("cost"), NAMES, 25)
    assert (shown.rows[0].email, shown.rows[0].gone) == (view.GONE, True)
    assert shown.pages.words == "1–1 of 1"
