"""Rows of the outbox: looked at, sent again, resolved."""

from __future__ import annotations

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.admin.money_usage import OutboxPlace
from aisaas.ui import notices, payloads
from aisaas.ui.admin.money import asked, view
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class OutboxRows(rx.State):
    shown: view.OutboxView = view.OutboxView()
    # They never come from the browser, except the search.
    _search: str = ""
    _ends: list[OutboxPlace] = []  # noqa: RUF012
    _end_here: OutboxPlace | None = None

    @rx.event
    @notices.shown
    async def choose(self, which: str) -> None:
        principal = await admin_of(self)
        which, self._ends = asked.choice(which, view.WHICH_ROWS), []
        await show(self, principal, which)

    @rx.event
    @notices.shown
    async def find(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        self._search, self._ends = payloads.search(form), []
        await show(self, principal, self.shown.which)

    @rx.event
    @notices.shown
    async def older(self) -> None:
        principal = await admin_of(self)
        if self.shown.older and self._end_here is not None:
            self._ends = [*self._ends, self._end_here]
            await show(self, principal, self.shown.which)

    @rx.event
    @notices.shown
    async def newer(self) -> None:
        principal = await admin_of(self)
        self._ends = self._ends[:-1]
        await show(self, principal, self.shown.which)

    @rx.event
    @notices.shown
    async def resend(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        sent = await services().money.usage.resend(
            principal, asked.rows(form), reason=asked.reason(form)
        )
        await show(self, principal, self.shown.which)
        await done(self, view.resent(sent))

    @rx.event
    @notices.shown
    async def resolve(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        rows, resolution = asked.rows(form), asked.resolution(form)
        count = await services().money.usage.resolve(
            principal, rows, resolution, reason=asked.reason(form)
        )
        await show(self, principal, self.shown.which)
        await done(self, f"{view.times(count, 'row is', 'rows are')} resolved.")


async def begin(page: rx.State, principal: Principal) -> None:
    """As the page is when it is loaded."""
    rows = await page.get_state(OutboxRows)
    rows._search, rows._ends = "", []
    await show(rows, principal, view.OutboxView().which)


async def show(rows: OutboxRows, principal: Principal, which: str) -> None:
    before = rows._ends[-1] if rows._ends else None
    usage = services().money.usage
    found = await usage.page(
        principal, view.STATES_SHOWN[which], search=rows._search, before=before
    )
    last = found.found[-1] if found.found else None
    rows._end_here = OutboxPlace(last.event_at, last.id) if last else None
    health = await usage.health(principal)
    rows.shown = view.outbox_view(found, health, which, len(rows._ends) + 1)
    await notices.clear(rows)
