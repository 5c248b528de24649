"""The usage page: a span, its figures, and the users who made them. Sorted, searched and paged where
the data is."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from datetime import date

import reflex as rx
from reflex.event import EventType

from aisaas.accounts.models import Principal
from aisaas.admin.usage import PAGE_USERS
from aisaas.billing.ledger.usage_models import MOST_HOURLY_DAYS, Span, Step
from aisaas.billing.plans.terms import plans
from aisaas.ui import notices, payloads
from aisaas.ui.admin.shell import admin_of, entered
from aisaas.ui.admin.usage import forms, view
from aisaas.ui.admin.usage.live import LiveFigures, show_live
from aisaas.ui.admin.view import OrderView
from aisaas.wiring import services


class Usage(rx.State):
    ready: bool = False
    span: view.SpanView = view.SpanView()
    report: view.ReportView = view.ReportView()
    split: str = "models"
    share_order: OrderView = OrderView("cost")
    users: view.UsersView = view.UsersView(order=OrderView("cost"))
    # The days that were chosen: a number up to today, which moves on, or those two.
    _days: int = 30
    _from_to: tuple[date, date] | None = None
    _step: Step = "day"
    _search: str = ""

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> EventType[()]:
        principal = await entered(self)
        self._search = ""
        await _show(self, principal)
        await show_live(self, principal)
        self.ready = True
        return LiveFigures.watch

    @rx.event
    @notices.handle_errors
    async def choose_days(self, days: str) -> None:
        principal = await admin_of(self)
        self._days, self._from_to = forms.days(days), None
        await _show(self, principal)

    @rx.event
    @notices.handle_errors
    async def choose_span(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        span = forms.span(form)
        self._from_to = (span.first, span.last)
        await _show(self, principal)

    @rx.event
    @notices.handle_errors
    async def choose_step(self, step: str) -> None:
        principal = await admin_of(self)
        self._step = forms.step(step)
        await _show_report(self, principal)

    @rx.event
    @notices.handle_errors
    async def choose_split(self, split: str) -> None:
        principal = await admin_of(self)
        self.split = forms.split(split)
        await _show_report(self, principal)

    @rx.event
    @notices.handle_errors
    async def sort_shares(self, key: str) -> None:
        principal = await admin_of(self)
        self.share_order = forms.order(key, view.SHARE_ORDERS, self.share_order)
        await _show_report(self, principal)

    @rx.event
    @notices.handle_errors
    async def find(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        self._search = payloads.search(form)
        await _show_users(self, principal)

    @rx.event
    @notices.handle_errors
    async def sort_users(self, key: str) -> None:
        principal = await admin_of(self)
        await _show_users(self, principal, forms.order(key, forms.USER_ORDERS, self.users.order))

    @rx.event
    @notices.handle_errors
    async def earlier(self) -> None:
        await _show_users(self, await admin_of(self), page=self.users.pages.page - 1)

    @rx.event
    @notices.handle_errors
    async def later(self) -> None:
        pages = self.users.pages
        await _show_users(self, await admin_of(self), page=pages.page + (1 if pages.later else 0))


async def _show(shown: Usage, principal: Principal) -> None:
    await _show_report(shown, principal)
    await _show_users(shown, principal)


async def _show_report(shown: Usage, principal: Principal) -> None:
    today = await services().usage_reports.today(principal)
    span = _span(shown, today)
    if span.days > MOST_HOURLY_DAYS:
        shown._step = "day"
    found = await services().usage_reports.report(principal, span, step=shown._step)
    chosen = view.CUSTOM if shown._from_to else str(shown._days)
    shown.span = view.span_view(span, chosen, shown._step)
    shown.report = view.report_view(found, today, _names(), shown.split, shown.share_order)
    await notices.clear(shown)


async def _show_users(
    shown: Usage, principal: Principal, order: OrderView | None = None, *, page: int = 1
) -> None:
    span = _span(shown, await services().usage_reports.today(principal))
    order = order or shown.users.order
    found = await services().usage_reports.users(
        principal,
        span,
        search=shown._search,
        sort=forms.user_sort(order),
        direction="down" if order.down else "up",
        page=page,
    )
    shown.users = view.users_view(found, order, _names(), PAGE_USERS)
    await notices.clear(shown)


def _span(shown: Usage, today: date) -> Span:
    return Span(*shown._from_to) if shown._from_to else view.last_days(shown._days, today)


def _names() -> view.Names:
    sold = plans(services().settings)
    labels = {plan: each.label for plan, each in sold.items()}
    return view.Names(services().catalogue.labels, labels)
