"""From reports to what the page shows. Pure functions.

Days and hours are UTC; an admin anywhere sees the days that the caps are counted by.
"""

# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from aisaas import formats
from aisaas.billing.ledger.usage_models import (
    MOST_HOURLY_DAYS,
    Burn,
    Earned,
    Live,
    Point,
    ProviderErrors,
    RefusedFor,
    Report,
    Share,
    Span,
    Spent,
    UserPage,
    UserUsage,
)
from aisaas.formats import percent, usd
from aisaas.formats import sum_usd as money
from aisaas.ui import amounts
from aisaas.ui.admin.view import OrderView, PagerView, TileView, pager_view
from aisaas.ui.dashboard.view import reason

# More bars than these are thinner than what can be pointed at; several days share one.
MOST_BARS = 190
MICRO = 1_000_000
GONE = "Deleted account"
NOTHING = "–"
TODAY, CUSTOM = "1", "custom"
SPANS = ((TODAY, "Today"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days"))
STEPS = (("day", "By day"), ("hour", "By hour"))
SPLITS = (("models", "Models"), ("providers", "Providers"), ("plans", "Plans"))


@dataclasses.dataclass(frozen=True)
class SpanView:
    """`chosen` is one of SPANS or CUSTOM; `first` and `last` are ISO 8601. `hourly` when it is short
    enough to be shown by the hour."""

    chosen: str = "30"
    first: str = ""
    last: str = ""
    step: str = "day"
    hourly: bool = True
    words: str = ""


@dataclasses.dataclass(frozen=True)
class SeriesView:
    """A part of a measure, a number for each bar."""

    label: str
    tone: int
    amounts: list[float]


@dataclasses.dataclass(frozen=True)
class MeasureView:
    """`cap` is what a bar may reach, where there is such a thing, else 0."""

    key: str
    label: str
    one: str
    many: str
    money: bool
    said: str
    cap: float
    series: list[SeriesView]


@dataclasses.dataclass(frozen=True)
class ChartView:
    """Bars begin at `points` (ISO 8601), the last ends at `end`."""

    points: list[str] = dataclasses.field(default_factory=list[str])
    end: str = ""
    by: str = "day"
    every: int = 1
    today: bool = False
    measures: list[MeasureView] = dataclasses.field(default_factory=list[MeasureView])
    # The sums of all measures, newest first.
    heads: list[str] = dataclasses.field(default_factory=list[str])
    rows: list[list[str]] = dataclasses.field(default_factory=list[list[str]])


@dataclasses.dataclass(frozen=True)
class ShareView:
    name: str
    requests: str
    tokens_in: str
    tokens_out: str
    errors: str
    cost: str
    revenue: str
    margin: str


@dataclasses.dataclass(frozen=True)
class RefusedView:
    code: str
    why: str
    times: str
    users: str


@dataclasses.dataclass(frozen=True)
class ErrorView:
    id: str
    provider: str
    model: str
    kind: str
    times: str


@dataclasses.dataclass(frozen=True)
class ReportView:
    tiles: list[TileView] = dataclasses.field(default_factory=list[TileView])
    chart: ChartView = ChartView()
    shares: list[ShareView] = dataclasses.field(default_factory=list[ShareView])
    refused: list[RefusedView] = dataclasses.field(default_factory=list[RefusedView])
    errors: list[ErrorView] = dataclasses.field(default_factory=list[ErrorView])


@dataclasses.dataclass(frozen=True)
class UserView:
    id: str
    email: str
    gone: bool
    plan: str
    requests: str
    tokens: str
    cost: str
    overage: str
    errors: str


@dataclasses.dataclass(frozen=True)
class UsersView:
    rows: list[UserView] = dataclasses.field(default_factory=list[UserView])
    order: OrderView = dataclasses.field(default_factory=OrderView)
    pages: PagerView = dataclasses.field(default_factory=PagerView)


@dataclasses.dataclass(frozen=True)
class SpentView:
    """A day's money against its cap."""

    words: str = ""
    used: str = ""
    percent: int = 0
    level: str = "calm"


@dataclasses.dataclass(frozen=True)
class LiveView:
    """`at` is ISO 8601."""

    at: str = ""
    tiles: list[TileView] = dataclasses.field(default_factory=list[TileView])
    free: SpentView = SpentView()
    total: SpentView = SpentView()


@dataclasses.dataclass(frozen=True)
class Names:
    """Labels of models and plans; one that is no longer sold goes by its id."""

    models: Mapping[str, str]
    plans: Mapping[str, str]


# The span


def last_days(days: int, today: date) -> Span:
    return Span(today - timedelta(days=days - 1), today)


def span_view(span: Span, chosen: str, step: str) -> SpanView:
    first, last = formats.day(span.first), formats.day(span.last)
    return SpanView(
        chosen=chosen,
        first=span.first.isoformat(),
        last=span.last.isoformat(),
        step=step,
        hourly=span.days <= MOST_HOURLY_DAYS,
        words=f"{first} (UTC)" if span.days == 1 else f"{first} – {last} (UTC)",
    )


# The report


def report_view(
    report: Report, today: date, names: Names, split: str, order: OrderView
) -> ReportView:
    return ReportView(
        tiles=tile_views(report),
        chart=chart_view(report, today),
        shares=share_views(report, names, split, order),
        refused=[_refused(each) for each in report.refusals],
        errors=[_error(each, names) for each in report.errors],
    )


def tile_views(report: Report) -> list[TileView]:
    total, figures = report.total, report.total.figures
    refused = sum(each.times for each in report.refusals)
    failed = sum(each.times for each in report.errors)
    return [
        TileView("Requests", f"{figures.requests:,}", hint=_endings(total)),
        TileView(
            "Model tokens in",
            f"{figures.prompt_tokens:,}",
            hint=_of_them(figures.cached_prompt_tokens, "cached"),
        ),
        TileView("Model tokens out", f"{figures.completion_tokens:,}"),
        TileView("Active users", f"{report.active_users:,}"),
        TileView("Cost", money(figures.cost_usd)),
        TileView(
            "Revenue",
            money(total.revenue_usd),
            hint=f"{money(total.subscriptions_usd)} plans, {money(figures.overage_usd)} extra usage",
        ),
        TileView("Margin", money(total.margin_usd), hint=_margin(total)),
        TileView("Refusals", f"{refused:,}"),
        TileView("Provider errors", f"{failed:,}"),
        _burn_tile(report),
    ]


def _endings(total: Earned) -> str:
    figures = total.figures
    said = (
        _of_them(figures.stopped, "stopped"),
        _of_them(figures.interrupted, "interrupted"),
        _of_them(figures.failed, "failed"),
    )
    return ", ".join(filter(None, said))


def _of_them(number: int, what: str) -> str:
    return f"{number:,} {what}" if number else ""


def _margin(total: Earned) -> str:
    if total.revenue_usd <= 0:
        return ""
    return f"{percent(total.margin_usd / total.revenue_usd)} of revenue"


def _burn_tile(report: Report) -> TileView:
    """The day that came closest to the cap, because a cap is for a day."""
    spent = sum((each.free.spent_usd for each in report.burn), Decimal(0))
    worst = max(report.burn, key=lambda each: each.free.spent_usd, default=None)
    if worst is None:
        return TileView("Free accounts", money(spent))
    share = _share_of(worst.free.spent_usd, worst.free.cap_usd)
    return TileView("Free accounts", money(spent), hint=f"Up to {share} of the daily cap")


def _share_of(part: Decimal, whole: Decimal) -> str:
    return percent(part / whole) if whole else "100%"


def chart_view(report: Report, today: date) -> ChartView:
    every = max(-(-len(report.series) // MOST_BARS), 1) if report.step == "day" else 1
    bars = [report.series[n : n + every] for n in range(0, len(report.series), every)]
    measures = [_requests(bars), _tokens(bars), _cost(bars), _revenue(bars)]
    if report.step == "day" and every == 1:
        measures.append(_burn(report.burn, report.series))
    return ChartView(
        points=[bar[0].at.isoformat() for bar in bars],
        end=report.span.end.isoformat(),
        by=report.step,
        every=every,
        today=report.step == "day" and every == 1 and report.span.last == today,
        measures=measures,
        heads=["Hour" if report.step == "hour" else "Day", *(each.label for each in measures)],
        rows=[
            [_name(bar, report.step), *(_written(each, n) for each in measures)]
            for n, bar in reversed(list(enumerate(bars)))
        ],
    )


def _name(bar: Sequence[Point], step: str) -> str:
    """What a bar stands for."""
    first, last = bar[0].at, bar[-1].at
    if step == "hour":
        return f"{formats.day(first)}, {first.hour % 12 or 12} {first:%p}"
    if first == last:
        return formats.day(first)
    return f"{first:%b} {first.day} – {formats.day(last)}"


def _written(measure: MeasureView, n: int) -> str:
    """One precision in a chart: cents, unless all of it comes to less than a dollar."""
    amount = sum(one.amounts[n] for one in measure.series)
    if not measure.money:
        return f"{amount:,}"
    all_of_it = sum(sum(one.amounts) for one in measure.series)
    write = formats.exact_usd if all_of_it < 1 else formats.usd
    return write(Decimal(str(amount)))


_Bars = Sequence[Sequence[Point]]


def _series(label: str, tone: int, bars: _Bars, of: Callable[[Earned], float]) -> SeriesView:
    return SeriesView(label, tone, [_sum(bar, of) for bar in bars])


def _sum(bar: Sequence[Point], of: Callable[[Earned], float]) -> float:
    return sum(of(point.earned) for point in bar)


def _requests(bars: _Bars) -> MeasureView:
    ended = _series(
        "Complete", 1, bars, lambda e: e.figures.requests - e.figures.errors - e.figures.stopped
    )
    stopped = _series("Stopped", 3, bars, lambda e: e.figures.stopped)
    broken = _series("Interrupted or failed", 5, bars, lambda e: e.figures.errors)
    return MeasureView(
        "requests", "Requests", "request", "requests", False, "", 0, [ended, stopped, broken]
    )


def _tokens(bars: _Bars) -> MeasureView:
    series = [
        _series("In", 3, bars, lambda e: e.figures.prompt_tokens),
        _series("Out", 1, bars, lambda e: e.figures.completion_tokens),
    ]
    return MeasureView(
        "tokens", "Model tokens", "model token", "model tokens", False, "in and out", 0, series
    )


def _cost(bars: _Bars) -> MeasureView:
    series = [_series("Cost", 2, bars, lambda e: float(e.figures.cost_usd))]
    return MeasureView("cost", "Cost", "", "", True, "to providers", 0, series)


def _revenue(bars: _Bars) -> MeasureView:
    series = [
        _series("Plans", 1, bars, lambda e: float(e.subscriptions_usd)),
        _series("Extra usage", 4, bars, lambda e: float(e.figures.overage_usd)),
    ]
    return MeasureView("revenue", "Revenue", "", "", True, "earned, not yet paid", 0, series)


def _burn(burn: Sequence[Burn], points: Sequence[Point]) -> MeasureView:
    spent = {each.day: float(each.free.spent_usd) for each in burn}
    series = [SeriesView("Free accounts", 2, [spent.get(point.at.date(), 0.0) for point in points])]
    cap = float(burn[-1].free.cap_usd) if burn else 0.0
    return MeasureView("free", "Free accounts", "", "", True, "spent by free accounts", cap, series)


# The tables

_SHARE_ORDERS: Mapping[str, Callable[[Share], Decimal | int]] = {
    "requests": lambda each: each.earned.figures.requests,
    "tokens_in": lambda each: each.earned.figures.prompt_tokens,
    "tokens_out": lambda each: each.earned.figures.completion_tokens,
    "errors": lambda each: each.earned.figures.errors,
    "cost": lambda each: each.earned.figures.cost_usd,
    "revenue": lambda each: each.earned.revenue_usd,
    "margin": lambda each: each.earned.margin_usd,
}
SHARE_ORDERS = frozenset(_SHARE_ORDERS)


def share_views(report: Report, names: Names, split: str, order: OrderView) -> list[ShareView]:
    labels: Mapping[str, str]
    if split == "plans":
        found, labels = report.plans, names.plans
    elif split == "providers":
        found, labels = report.providers, {}
    else:
        found, labels = report.models, names.models
    ranked = sorted(found, key=lambda each: each.name)
    ranked.sort(key=_SHARE_ORDERS[order.key], reverse=order.down)
    return [_share(each, labels) for each in ranked]


def _share(share: Share, labels: Mapping[str, str]) -> ShareView:
    figures = share.earned.figures
    return ShareView(
        name=labels.get(share.name, share.name),
        requests=f"{figures.requests:,}",
        tokens_in=f"{figures.prompt_tokens:,}",
        tokens_out=f"{figures.completion_tokens:,}",
        errors=f"{figures.errors:,}",
        cost=money(figures.cost_usd),
        revenue=money(share.earned.revenue_usd),
        margin=money(share.earned.margin_usd),
    )


def _refused(refused: RefusedFor) -> RefusedView:
    return RefusedView(
        refused.code, reason(refused.code), f"{refused.times:,}", f"{refused.users:,}"
    )


def _error(error: ProviderErrors, names: Names) -> ErrorView:
    return ErrorView(
        id=f"{error.provider} {error.model} {error.kind}",
        provider=error.provider,
        model=names.models.get(error.model, error.model),
        kind=error.kind,
        times=f"{error.times:,}",
    )


def users_view(found: UserPage, order: OrderView, names: Names, page_size: int) -> UsersView:
    return UsersView(
        rows=[_user(user, names) for user in found.users],
        order=order,
        pages=pager_view(found.page, page_size, found.total, len(found.users)),
    )


def _user(user: UserUsage, names: Names) -> UserView:
    figures = user.figures
    return UserView(
        id=str(user.user_id),
        email=user.email or GONE,
        gone=user.email is None,
        plan=names.plans.get(user.plan, user.plan) if user.plan else NOTHING,
        requests=f"{figures.requests:,}",
        tokens=f"{figures.tokens:,}",
        cost=money(figures.cost_usd),
        overage=money(figures.overage_usd),
        errors=f"{figures.errors:,}",
    )


# Now


def live_view(live: Live) -> LiveView:
    return LiveView(
        at=live.at.isoformat(timespec="seconds"),
        tiles=[
            TileView("Running replies", f"{live.running:,}"),
            TileView("Requests per minute", f"{live.requests_a_minute:,}"),
            TileView("Refusals per minute", f"{live.refusals_a_minute:,}"),
        ],
        free=_spent(live.free),
        total=_spent(live.total),
    )


def _spent(spent: Spent) -> SpentView:
    taken = spent.spent_usd + spent.reserved_usd
    gauge = amounts.gauge(int(taken * MICRO), int(spent.cap_usd * MICRO))
    return SpentView(
        words=f"of {usd(spent.cap_usd)}, {money(spent.reserved_usd)} reserved",
        used=money(taken),
        percent=gauge.percent,
        level=gauge.level,
    )
