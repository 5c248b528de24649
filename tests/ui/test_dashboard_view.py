"""Use, receipts and refusals to what the dashboard shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from aisaas.billing.ledger.models import Call, CallPage, DayUse, RefusedDay
from aisaas.billing.reservations.models import Allowance
from aisaas.errors import Refusal
from aisaas.ui.dashboard import view

NOW = datetime(2031, 5, 4, 12, 30, tzinfo=UTC)
TODAY = NOW.date()
LABELS = {"m-large": "Large", "m-small": "Small"}


def use(
    model: str = "m-large",
    *,
    back: int = 0,
    tokens: int = 100,
    replies: int = 1,
    in_period: bool = True,
) -> DayUse:
    return DayUse(TODAY - timedelta(days=back), model, in_period, replies, tokens)


CALL = Call(
    id=UUID(int=1),
    at=NOW,
    purpose="reply",
    conversation_id=UUID(int=2),
    title="Tea",
    asked="m-large",
    model="m-large",
    prompt_tokens=1000,
    completion_tokens=5,
    quota_tokens=2010,
    overage_usd=Decimal("0.0201"),
    cost_usd=Decimal("0.000153"),
    outcome="interrupted",
)


# The allowance


def test_the_allowance_tells_used_from_held() -> None:
    shown = view.allowance_view(
        Allowance("month", NOW, NOW, used=2500, reserved=1500, included=10_000)
    )
    assert (shown.used, shown.held, shown.left, shown.limit) == (
        "2,500",
        "1,500",
        "6,000",
        "10,000",
    )
    assert (shown.used_percent, shown.held_percent, shown.level) == (25, 15, "calm")
    assert shown.renews_at == NOW.isoformat()


@pytest.mark.parametrize(
    ("used", "reserved", "limit", "bar", "level"),
    [
        (0, 0, 0, (100, 0), "full"),
        (12_000, 0, 10_000, (100, 0), "full"),
        (9000, 5000, 10_000, (90, 10), "near"),
        (0, 10, 10_000, (0, 0), "calm"),
    ],
)
def test_the_bar_never_leaves_its_track(
    used: int, reserved: int, limit: int, bar: tuple[int, int], level: str
) -> None:
    shown = view.allowance_view(
        Allowance("month", NOW, NOW, used=used, reserved=reserved, included=limit)
    )
    assert (shown.used_percent, shown.held_percent) == bar
    assert shown.level == level


# By day


def test_the_chart_has_thirty_days_and_each_use_on_its_own() -> None:
    uses = [use(), use(back=29, tokens=7), use("m-small", back=1, tokens=50, replies=2)]
    chart = view.chart_view(uses, TODAY, LABELS)
    assert (chart.days[0], chart.days[-1], len(chart.days)) == ("2031-04-05", "2031-05-04", 30)
    large, small = chart.series
    assert (large.label, large.tone, large.tokens[0], large.tokens[-1]) == ("Large", 1, 7, 100)
    assert (small.label, small.tone, small.tokens[-2], small.replies[-2]) == ("Small", 2, 50, 2)
    assert sum(large.tokens + small.tokens) == 157
    assert chart.rows == [
        ["May 4, 2031", "Large", "100", "1"],
        ["May 3, 2031", "Small", "50", "2"],
        ["Apr 5, 2031", "Large", "7", "1"],
    ]


def test_a_day_that_a_period_ends_on_is_one_bar() -> None:
    chart = view.chart_view([use(tokens=5), use(tokens=6, in_period=False)], TODAY, LABELS)
    assert [one.tokens[-1] for one in chart.series] == [11]


def test_no_use_is_no_series() -> None:
    older = [use(back=30)]
    assert view.chart_view([], TODAY, LABELS).series == []
    assert view.chart_view(older, TODAY, LABELS).series == []


def test_what_is_beyond_the_colours_is_one_series() -> None:
    uses = [use(f"m-{n}", tokens=100 - n) for n in range(8)]
    chart = view.chart_view(uses, TODAY, LABELS)
    assert [one.tone for one in chart.series] == [1, 2, 3, 4, 5, 6]
    assert (chart.series[-1].label, chart.series[-1].tokens[-1]) == (view.OTHER, 95 + 94 + 93)


def test_a_model_that_is_not_sold_any_more_keeps_its_name() -> None:
    assert view.chart_view([use("m-old")], TODAY, LABELS).series[0].label == "m-old"


# By model


def test_shares_are_of_this_period_in_the_charts_colours() -> None:
    uses = [
        use("m-small", tokens=900, in_period=False),
        use("m-small", tokens=25, replies=1),
        use(tokens=75, replies=3),
    ]
    large, small = view.share_views(uses, LABELS)
    assert (large.label, large.share, large.use) == ("Large", "75%", "75 tokens · 3 replies")
    assert (small.label, small.share, small.use) == ("Small", "25%", "25 tokens · 1 reply")
    assert (large.tone, small.tone) == (2, 1)


def test_a_tiny_share_is_not_nothing() -> None:
    large, small = view.share_views([use(tokens=10_000), use("m-small", tokens=1)], LABELS)
    assert (large.share, small.share) == ("100%", "less than 1%")


def test_use_that_counted_nothing_has_a_share_of_nothing() -> None:
    ((only),) = view.share_views([use(tokens=0)], LABELS)
    assert (only.percent, only.share, only.use) == (0, "0%", "0 tokens · 1 reply")


# Receipts


def test_a_receipt_is_readable() -> None:
    shown = view.call_view(CALL, LABELS)
    assert (shown.title, shown.href) == ("Tea", f"/chat/{UUID(int=2)}")
    assert (shown.purpose, shown.model, shown.outcome) == ("Reply", "Large", "Interrupted")
    assert (shown.tokens_in, shown.tokens_out, shown.counted) == ("1,000", "5", "2,010")
    assert (shown.charge, shown.instead_of) == ("$0.020100", "")


def test_only_an_admin_sees_what_the_operator_pays() -> None:
    shown = view.call_view(CALL, LABELS)
    assert shown.cost == ""
    assert "0.000153" not in str(shown)
    assert view.call_view(CALL, LABELS, admin=True).cost == "$0.000153"


def test_a_reply_within_the_plan_costs_nothing_extra() -> None:
    assert view.call_view(replace(CALL, overage_usd=Decimal(0)), LABELS).charge == "Included"


def test_a_fallback_is_named_with_the_model_it_replaced() -> None:
    shown = view.call_view(replace(CALL, model="m-small"), LABELS)
    assert (shown.model, shown.instead_of) == ("Small", "Large")


def test_who_was_asked_may_be_forgotten() -> None:
    assert view.call_view(replace(CALL, asked=None), LABELS).instead_of == ""


def test_a_deleted_conversation_is_no_link() -> None:
    shown = view.call_view(replace(CALL, title=None), LABELS)
    assert (shown.title, shown.href) == (view.DELETED, "")


@pytest.mark.parametrize(("newer", "number", "page"), [(True, 3, 3), (True, 0, 1), (False, 3, 1)])
def test_the_newest_page_is_the_first(newer: bool, number: int, page: int) -> None:
    shown = view.calls_view(CallPage((CALL,), older=True, newer=newer), LABELS, number)
    assert (shown.page, shown.newer, len(shown.rows)) == (page, newer, 1)


# Refusals


def test_a_refusal_says_when_why_and_how_often() -> None:
    ((shown),) = view.refused_views([RefusedDay("busy", NOW, 3, "m-small")], LABELS)
    assert (shown.why, shown.model, shown.times) == (view.REASONS["busy"], "Small", "3 times")
    assert shown.at == "2031-05-04T12:30:00+00:00"


@pytest.mark.parametrize("kind", Refusal.__subclasses__(), ids=lambda kind: kind.code)
def test_every_refusal_has_a_reason_in_words(kind: type[Refusal]) -> None:
    ((shown),) = view.refused_views([RefusedDay(kind.code, NOW, 1, None)], LABELS)
    assert " " in shown.why
    assert not shown.why.endswith(".")
    assert (shown.model, shown.times) == ("", "1 time")


def test_a_reason_that_no_release_knows_any_more_is_its_code() -> None:
    ((shown),) = view.refused_views([RefusedDay("retired_code", NOW, 1, None)], LABELS)
    assert shown.why == "retired_code"


def test_days_are_counted_from_the_databases_today() -> None:
    chart = view.chart_view([use()], date(2031, 5, 5), LABELS)
    assert (chart.days[-1], chart.series[0].tokens[-2:]) == ("2031-05-05", [100, 0])
