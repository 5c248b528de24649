"""One user, as admins see them. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from aisaas.accounts.people_models import AccountSummary, SignedInAt
from aisaas.admin.users_models import Done, OneUser
from aisaas.billing.notices.user_reports import SentMail
from aisaas.billing.plans.terms import Plan
from aisaas.billing.reservations.user_reports import Credit, Refused
from aisaas.billing.subscriptions.user_reports import HeldSubscription
from aisaas.chat.failed_replies import FailedReply
from aisaas.formats import sum_usd, usd
from aisaas.ui.admin.audit.view import changes
from aisaas.ui.admin.users.view import STATUSES
from aisaas.ui.admin.view import TileView
from aisaas.ui.dashboard.view import DAYS, REASONS, ChartView, SeriesView, charted
from aisaas.ui.profile.view import OPENED

ENDINGS = {"failed": "Failed", "interrupted": "Interrupted"}
MAILS = {"pending": "Waiting", "sent": "Sent", "dead": "Undeliverable"}


@dataclasses.dataclass(frozen=True)
class LineView:
    """A line of a table. `at` and `until` are ISO 8601 or empty, `tone` is a badge's."""

    id: str
    at: str = ""
    what: str = ""
    detail: str = ""
    figure: str = ""
    state: str = ""
    tone: str = ""
    until: str = ""
    href: str = ""
    by: str = ""
    possible: bool = False
    lines: list[str] = dataclasses.field(default_factory=list[str])


@dataclasses.dataclass(frozen=True)
class LimitView:
    """What holds for this account; `own` when it isn't the plan's."""

    name: str
    words: str
    own: bool


@dataclasses.dataclass(frozen=True)
class OneUserView:
    """`mine` when they are the admin who looks. Moments are ISO 8601; `limit_fields` is what the
    dialog of the limits asks for (see `ask_first`)."""

    id: str = ""
    email: str = ""
    name: str = ""
    admin: bool = False
    mine: bool = False
    suspended_at: str = ""
    suspended_reason: str = ""
    joined_at: str = ""
    plan: str = ""
    status: str = ""
    owing: bool = False
    ends_at: str = ""
    renews_at: str = ""
    customer_page: str = ""
    tiles: list[TileView] = dataclasses.field(default_factory=list[TileView])
    chart: ChartView = dataclasses.field(default_factory=ChartView)
    limits: list[LimitView] = dataclasses.field(default_factory=list[LimitView])
    limit_fields: list[dict[str, Any]] = dataclasses.field(default_factory=list[dict[str, Any]])
    refused: list[LineView] = dataclasses.field(default_factory=list[LineView])
    failed: list[LineView] = dataclasses.field(default_factory=list[LineView])
    sessions: list[LineView] = dataclasses.field(default_factory=list[LineView])
    subscriptions: list[LineView] = dataclasses.field(default_factory=list[LineView])
    credits: list[LineView] = dataclasses.field(default_factory=list[LineView])
    mails: list[LineView] = dataclasses.field(default_factory=list[LineView])
    done: list[LineView] = dataclasses.field(default_factory=list[LineView])


def one_user_view(found: OneUser, *, looking: UUID, models: Mapping[str, str]) -> OneUserView:
    """`looking` is the admin's own id, `models` are names by id."""
    who = found.standing
    return OneUserView(
        id=str(who.id),
        email=who.email,
        name=who.full_name,
        admin=who.role == "admin",
        mine=who.id == looking,
        suspended_at=_iso(who.suspended_at),
        suspended_reason=who.suspended_reason or "",
        joined_at=_iso(who.created_at),
        plan=found.plan.label,
        status=STATUSES.get(who.subscription_status, who.subscription_status),
        owing=who.subscription_status == "past_due",
        ends_at=_iso(who.plan_ends_at),
        renews_at=_iso(found.allowance.period_end),
        customer_page=found.customer_page or "",
        tiles=_tiles(found),
        chart=_chart(found),
        limits=_limits(who, found.plan),
        limit_fields=_limit_fields(who, found.plan),
        refused=[_refused(each, models) for each in found.refused],
        failed=[_failed(each, models) for each in found.failed],
        sessions=[_session(each) for each in found.sessions],
        subscriptions=[_subscription(each) for each in found.subscriptions],
        credits=[_credit(each) for each in found.credits],
        mails=[_mail(each, possible=found.mails_go_out) for each in found.mails],
        done=[_done(each) for each in found.done],
    )


def _tiles(found: OneUser) -> list[TileView]:
    allowance, money = found.allowance, found.money
    requests = sum(day.requests for day in found.days)
    tokens = sum(day.quota_tokens for day in found.days)
    month = sum((day.cost_usd for day in found.days), Decimal(0))
    paid = f"{usd(money.base_usd)} plan, {usd(money.overage_usd)} extra usage"
    return [
        TileView(
            "Quota tokens this period",
            f"{allowance.used:,}",
            f"of {allowance.limit:,}, {allowance.left:,} left",
        ),
        TileView(
            "Quota tokens, last 30 days",
            f"{tokens:,}",
            f"in {requests:,} requests, {sum_usd(month)} cost",
        ),
        TileView(
            "Owes this period" if money.owed else "Pays this period",
            usd(money.base_usd + money.overage_usd),
            paid,
        ),
        TileView(
            "Costs us this period",
            sum_usd(money.cost_usd),
            f"{sum_usd(money.ever_cost_usd)} in total",
        ),
        TileView("Margin this period", sum_usd(money.margin_usd), "Revenue minus cost"),
    ]


def _chart(found: OneUser) -> ChartView:
    days = [found.today - timedelta(days=back) for back in reversed(range(DAYS))]
    used = {day.day: day for day in found.days}
    if not used:
        return charted(days, [])
    tokens = [used[day].quota_tokens if day in used else 0 for day in days]
    requests = [used[day].requests if day in used else 0 for day in days]
    return charted(days, [SeriesView("All models", 1, tokens, requests)])


@dataclasses.dataclass(frozen=True)
class _Limit:
    key: str
    name: str
    own: object
    plans: object
    least: int = 0
    step: str = "1"
    money: bool = False


def _each_limit(who: AccountSummary, plan: Plan) -> list[_Limit]:
    cap = plan.price.default_cap_usd if plan.price else None
    return [
        _Limit(
            "requests_per_minute",
            "Requests per minute",
            who.requests_per_minute,
            plan.rates.per_minute,
        ),
        _Limit("requests_per_day", "Requests per day", who.requests_per_day, plan.rates.per_day),
        _Limit(
            "parallel_replies",
            "Replies at a time",
            who.parallel_replies,
            plan.parallel_replies,
            least=1,
        ),
        _Limit(
            "tokens_per_month",
            "Quota tokens per period",
            who.tokens_per_month,
            plan.tokens_per_month,
        ),
        _Limit(
            "highest_cap_usd",
            "Highest spending cap (USD)",
            who.highest_cap_usd,
            cap,
            step="0.01",
            money=True,
        ),
    ]


def _limits(who: AccountSummary, plan: Plan) -> list[LimitView]:
    return [
        LimitView(limit.name.removesuffix(" (USD)"), _limit_words(limit), limit.own is not None)
        for limit in _each_limit(who, plan)
    ]


def _limit_words(limit: _Limit) -> str:
    if limit.money:
        return "None" if limit.own is None else f"${limit.own:,.2f}"
    return f"{limit.plans if limit.own is None else limit.own:,}"


def _limit_fields(who: AccountSummary, plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": limit.key,
            "label": limit.name,
            "type": "number",
            "value": "" if limit.own is None else str(limit.own),
            "min": limit.least,
            "step": limit.step,
            "hint": _limit_hint(limit),
        }
        for limit in _each_limit(who, plan)
    ]


def _limit_hint(limit: _Limit) -> str:
    if limit.money:
        return "Empty: no limit."
    return f"Empty: {limit.plans:,}, the plan's limit."


def _refused(each: Refused, models: Mapping[str, str]) -> LineView:
    return LineView(
        id=f"{each.code} {each.minute.isoformat()}",
        at=_iso(each.minute),
        what=REASONS.get(each.code, each.code),
        detail=_model(each.model, models),
        figure=f"{each.times:,}",
    )


def _failed(each: FailedReply, models: Mapping[str, str]) -> LineView:
    other = each.answered_by and each.answered_by != each.model
    by = f", answered by {_model(each.answered_by, models)}" if other else ""
    return LineView(
        id=str(each.message_id),
        at=_iso(each.at),
        what=ENDINGS.get(each.status, each.status),
        detail=_model(each.model, models) + by,
        state=each.code or "",
    )


def _session(each: SignedInAt) -> LineView:
    return LineView(
        id=str(each.id),
        at=_iso(each.created_at),
        what=each.device,
        detail=OPENED[each.opened_by],
        until=_iso(each.last_seen_at),
    )


def _subscription(each: HeldSubscription) -> LineView:
    bad = each.status in {"past_due", "unpaid", "incomplete"}
    lost = f", {usd(each.written_off_usd)} written off" if each.written_off_usd else ""
    return LineView(
        id=each.id,
        at=_iso(each.created_at),
        what=(each.plan or "Unknown price").capitalize(),
        state=each.status.replace("_", " ").capitalize() + lost,
        tone="bad" if bad else "good" if each.status in {"active", "trialing"} else "",
        until=_iso(each.cancel_at or each.period_end),
        detail="Ends" if each.cancel_at else "Renews",
        href=each.page or "",
    )


def _credit(each: Credit) -> LineView:
    return LineView(
        id=str(each.id),
        at=_iso(each.created_at),
        what=each.reason,
        figure=f"{each.spent:,} of {each.tokens:,}",
        state="Used up or expired" if each.over else "Active",
        tone="" if each.over else "good",
        until=_iso(each.expires_at),
    )


def _mail(each: SentMail, *, possible: bool) -> LineView:
    return LineView(
        id=str(each.id),
        at=_iso(each.sent_at or each.created_at),
        what=each.kind.replace("_", " ").capitalize(),
        detail=each.last_error or "",
        state=MAILS[each.state],
        tone={"sent": "good", "dead": "bad"}.get(each.state, ""),
        possible=possible and each.state != "pending",
    )


def _done(each: Done) -> LineView:
    return LineView(
        id=str(each.id),
        at=_iso(each.at),
        what=each.action,
        by=each.actor_email or each.actor,
        detail=each.reason,
        lines=changes(each.before, each.after),
    )


def _model(model: str | None, models: Mapping[str, str]) -> str:
    return models.get(model, model) if model else ""


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
