"""From usage in the database to what the page shows. Pure functions."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from aisaas import formats
from aisaas.billing.ledger.models import Call, CallPage, DayUse, RefusedDay
from aisaas.billing.plans.terms import PlanPrice
from aisaas.billing.reservations.models import Allowance
from aisaas.errors import Refusal
from aisaas.formats import count
from aisaas.ui import amounts, routes

DAYS = 30
# More colors than these can't be distinguished; the rest share one.
COLOURS = 5
OTHER = "Other models"
DELETED = "Deleted conversation"
NOTHING_EXTRA = "Included"
PURPOSES = {"reply": "Reply", "title": "Title"}
OUTCOMES = {
    "done": "Complete",
    "stopped": "Stopped",
    "interrupted": "Interrupted",
    "failed": "Failed",
}
# In the past tense; a code that isn't here keeps its refusal's text.
REASONS = {
    "billing_invalid": "The plan or spending cap couldn't be changed",
    "busy": "Too many replies were running",
    "cap_reached": "Spending cap reached",
    "internal_error": "Something went wrong on our side",
    "message_invalid": "The message was empty or had invalid characters",
    "message_too_large": "The message was too long",
    "model_unavailable": "The model wasn't available",
    "not_found": "The conversation or message no longer existed",
    "quota_exceeded": "Not enough tokens left",
    "rate_limited_day": "Daily message limit reached",
    "rate_limited_minute": "Message limit per minute reached",
    "restarting": "The server was restarting",
    "spending_paused": "New replies were paused",
    "suspended": "The account was suspended",
    "too_slow": "It took too long and was canceled",
    "unavailable": "A service didn't respond",
}


@dataclasses.dataclass(frozen=True)
class AllowanceView:
    """The period in words; the two percents are of the bar's length. What is beyond is empty where
    nothing may be used beyond what is included."""

    used: str = ""
    held: str = ""
    left: str = ""
    limit: str = ""
    used_percent: int = 0
    held_percent: int = 0
    level: str = "calm"
    words: str = ""
    credits: str = ""
    beyond: str = ""
    extra: str = ""
    renews_at: str = ""


@dataclasses.dataclass(frozen=True)
class SeriesView:
    """A model's share of each day, oldest day first; `tone` is its colour, from 1."""

    label: str
    tone: int
    tokens: list[int]
    replies: list[int]


@dataclasses.dataclass(frozen=True)
class ChartView:
    """Days (UTC, ISO 8601, the last is today) and what was used on them. Without use: no series."""

    days: list[str] = dataclasses.field(default_factory=list[str])
    series: list[SeriesView] = dataclasses.field(default_factory=list[SeriesView])
    # What each model was used for on each day, newest first.
    rows: list[list[str]] = dataclasses.field(default_factory=list[list[str]])


@dataclasses.dataclass(frozen=True)
class ShareView:
    """A model's share of the period."""

    label: str
    tone: int
    percent: int
    share: str
    use: str


@dataclasses.dataclass(frozen=True)
class CallView:
    """A receipt, as its owner reads it. `cost`, what the operator pays, is empty unless an admin asks."""

    id: str
    at: str
    href: str
    title: str
    purpose: str
    model: str
    instead_of: str
    tokens_in: str
    tokens_out: str
    counted: str
    charge: str
    cost: str
    outcome: str


@dataclasses.dataclass(frozen=True)
class CallsView:
    """A page of receipts, newest first; `page` counts from 1."""

    rows: list[CallView] = dataclasses.field(default_factory=list[CallView])
    older: bool = False
    newer: bool = False
    page: int = 1


@dataclasses.dataclass(frozen=True)
class RefusedView:
    """How often a user was refused for one reason on one day; `at` is the last time."""

    id: str
    at: str
    why: str
    model: str
    times: str


def allowance_view(allowance: Allowance, price: PlanPrice | None = None) -> AllowanceView:
    """`price` is what more costs, where it may be used."""
    limit = amounts.without_extra(allowance)
    found = amounts.included(allowance)
    taken = amounts.gauge(max(allowance.used, 0) + max(allowance.reserved, 0), limit).percent
    return AllowanceView(
        used=f"{min(allowance.used, limit) if allowance.overage else allowance.used:,}",
        held=f"{allowance.reserved:,}",
        left=f"{max(limit - allowance.used - allowance.reserved, 0):,}",
        limit=f"{limit:,}",
        used_percent=found.percent,
        held_percent=max(taken - found.percent, 0),
        level=found.level,
        words=found.words,
        credits=f"{allowance.credits:,}" if allowance.credits else "",
        **_beyond(allowance, price),
        renews_at=allowance.period_end.isoformat(),
    )


def _beyond(allowance: Allowance, price: PlanPrice | None) -> dict[str, str]:
    if price is None or allowance.overage == 0:
        return {}
    spent, cap = amounts.spent(allowance), amounts.cap(allowance, price)
    return {
        "beyond": count(allowance.billed_tokens, "token"),
        "extra": f"{formats.usd(spent)} of your {formats.usd(cap)} cap",
    }


def tones(uses: Sequence[DayUse]) -> Mapping[str, int]:
    """A colour for each model, the same in every chart: the most used first, the rest share one."""
    tokens: defaultdict[str, int] = defaultdict(int)
    for use in uses:
        tokens[use.model] += use.tokens
    ranked = sorted(tokens, key=lambda model: (-tokens[model], model))
    return {model: min(place, COLOURS + 1) for place, model in enumerate(ranked, 1)}


def chart_view(uses: Sequence[DayUse], today: date, labels: Mapping[str, str]) -> ChartView:
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    place = {day: index for index, day in enumerate(days)}
    series: dict[int, SeriesView] = {}
    colour = tones(uses)
    for use in uses:
        if use.day not in place:
            continue
        tone = colour[use.model]
        label = _label(use.model, tone, labels)
        one = series.setdefault(tone, SeriesView(label, tone, [0] * DAYS, [0] * DAYS))
        one.tokens[place[use.day]] += use.tokens
        one.replies[place[use.day]] += use.replies
    return charted(days, [series[tone] for tone in sorted(series)])


def charted(days: Sequence[date], series: list[SeriesView]) -> ChartView:
    rows = [
        [formats.day(day), one.label, f"{one.tokens[n]:,}", f"{one.replies[n]:,}"]
        for n, day in reversed(list(enumerate(days)))
        for one in series
        if one.tokens[n] > 0 or one.replies[n] > 0
    ]
    return ChartView([day.isoformat() for day in days], series, rows)


def share_views(uses: Sequence[DayUse], labels: Mapping[str, str]) -> list[ShareView]:
    """The period's use by model, the most used first."""
    colour = tones(uses)
    tokens: defaultdict[int, int] = defaultdict(int)
    replies: defaultdict[int, int] = defaultdict(int)
    names: dict[int, str] = {}
    for use in uses:
        if use.in_period:
            tone = colour[use.model]
            names[tone] = _label(use.model, tone, labels)
            tokens[tone] += use.tokens
            replies[tone] += use.replies
    whole = sum(tokens.values())
    return [
        ShareView(
            label=names[tone],
            tone=tone,
            percent=tokens[tone] * 100 // whole if whole else 0,
            share=_share(tokens[tone], whole),
            use=f"{count(tokens[tone], 'token')} · {count(replies[tone], 'reply', 'replies')}",
        )
        for tone in sorted(tokens, key=lambda tone: (-tokens[tone], tone))
    ]


def calls_view(
    page: CallPage, labels: Mapping[str, str], number: int = 1, *, admin: bool = False
) -> CallsView:
    return CallsView(
        rows=[call_view(call, labels, admin=admin) for call in page.calls],
        older=page.older,
        newer=page.newer,
        page=max(number, 1) if page.newer else 1,
    )


def call_view(call: Call, labels: Mapping[str, str], *, admin: bool = False) -> CallView:
    instead = call.asked is not None and call.asked != call.model
    return CallView(
        id=str(call.id),
        at=call.at.isoformat(timespec="seconds"),
        href="" if call.title is None else routes.conversation(call.conversation_id),
        title=DELETED if call.title is None else call.title,
        purpose=PURPOSES[call.purpose],
        model=labels.get(call.model, call.model),
        instead_of=labels.get(call.asked or "", call.asked or "") if instead else "",
        tokens_in=f"{call.prompt_tokens:,}",
        tokens_out=f"{call.completion_tokens:,}",
        counted=f"{call.quota_tokens:,}",
        charge=formats.exact_usd(call.overage_usd) if call.overage_usd else NOTHING_EXTRA,
        cost=formats.exact_usd(call.cost_usd) if admin else "",
        outcome=OUTCOMES[call.outcome],
    )


def refused_views(days: Sequence[RefusedDay], labels: Mapping[str, str]) -> list[RefusedView]:
    return [
        RefusedView(
            id=f"{day.code} {day.last.isoformat()}",
            at=day.last.isoformat(timespec="seconds"),
            why=reason(day.code),
            model=labels.get(day.model or "", day.model or ""),
            times=count(day.times, "time"),
        )
        for day in days
    ]


def _label(model: str, tone: int, labels: Mapping[str, str]) -> str:
    return OTHER if tone > COLOURS else labels.get(model, model)


def _share(part: int, whole: int) -> str:
    percent = part * 100 / whole if whole else 0.0
    return "less than 1%" if 0 < percent < 1 else f"{percent:.0f}%"


def reason(code: str) -> str:
    """Why a request was refused, in the past tense, by the refusal's code."""
    defaults = {kind.code: kind.default for kind in Refusal.__subclasses__()}
    return REASONS.get(code) or defaults.get(code, code).rstrip(".")
