"""The dashboard's state: loads the whole page once, and sends only the changes."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import reflex as rx

from aisaas.billing.ledger.models import CallPage, Overview
from aisaas.billing.plans.terms import Plan
from aisaas.db.paging import Cursor, Moment
from aisaas.ui import notices
from aisaas.ui.dashboard import view
from aisaas.ui.session import caller_of, principal_of, show_account
from aisaas.wiring import services


class Dashboard(rx.State):
    ready: bool = False
    allowance: view.AllowanceView = view.AllowanceView()
    chart: view.ChartView = view.ChartView()
    shares: list[view.ShareView] = []  # noqa: RUF012
    calls: view.CallsView = view.CallsView()
    refused: list[view.RefusedView] = []  # noqa: RUF012
    # The first and the last receipt in view; they never come from the browser.
    _ends: tuple[Moment, Moment] | None = None

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> None:
        caller = await caller_of(self)
        found = await services().usage.overview(caller.billing)
        await show_account(self, caller, found.allowance)
        await notices.clear(self)
        plan = services().quota.plan_of(caller.billing)
        show_overview(self, found, plan, admin=caller.is_admin)

    @rx.event
    @notices.handle_errors
    async def older(self) -> None:
        principal = await principal_of(self)
        if self._ends is not None:
            page = await services().usage.older(principal, self._ends[1])
            show_calls(self, page, self.calls.page + 1, admin=principal.is_admin)

    @rx.event
    @notices.handle_errors
    async def newer(self) -> None:
        principal = await principal_of(self)
        if self._ends is not None:
            page = await services().usage.newer(principal, self._ends[0])
            show_calls(self, page, self.calls.page - 1, admin=principal.is_admin)


def show_overview(shown: Dashboard, found: Overview, plan: Plan, *, admin: bool) -> None:
    labels = services().catalogue.labels
    _show(shown, "allowance", view.allowance_view(found.allowance, plan.price))
    _show(shown, "chart", view.chart_view(found.days, found.today, labels))
    _show(shown, "shares", view.share_views(found.days, labels))
    _show(shown, "refused", view.refused_views(found.refused, labels))
    show_calls(shown, found.calls, 1, admin=admin)
    _show(shown, "ready", True)


def show_calls(shown: Dashboard, page: CallPage, number: int, *, admin: bool) -> None:
    if not page.calls and number > 1:
        # The page emptied meanwhile; keep the current view.
        return
    ends = [Cursor(call.at, call.id) for call in page.calls]
    shown._ends = (ends[0], ends[-1]) if ends else None
    labels = services().catalogue.labels
    _show(shown, "calls", view.calls_view(page, labels, number, admin=admin))


def _show(shown: Dashboard, name: str, value: object) -> None:
    """An equal value is not sent again."""
    if getattr(shown, name) != value:
        setattr(shown, name, value)
