"""Events of the payment provider: what became of them, and failed ones handled anew."""

from __future__ import annotations

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.admin.money_webhooks import WebhookPlace
from aisaas.ui import notices, payloads
from aisaas.ui.admin.money import asked, view
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class WebhookRows(rx.State):
    shown: view.EventsView = view.EventsView()
    # They never come from the browser, except the search.
    _search: str = ""
    _ends: list[WebhookPlace] = []  # noqa: RUF012
    _end_here: WebhookPlace | None = None

    @rx.event
    @notices.shown
    async def choose(self, which: str) -> None:
        principal = await admin_of(self)
        which, self._ends = asked.choice(which, view.WHICH_EVENTS), []
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
    async def replay(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        outcome = await services().money.webhooks.replay(
            principal, asked.event(form), reason=asked.reason(form)
        )
        await show(self, principal, self.shown.which)
        status, _ = view.event_status(outcome)
        await done(self, f"The event was handled: {status.lower()}.")


async def begin(page: rx.State, principal: Principal) -> None:
    """As the page is when it is loaded."""
    rows = await page.get_state(WebhookRows)
    rows._search, rows._ends = "", []
    await show(rows, principal, view.EventsView().which)


async def show(rows: WebhookRows, principal: Principal, which: str) -> None:
    before = rows._ends[-1] if rows._ends else None
    webhooks = services().money.webhooks
    found = await webhooks.page(
        principal, failed=which == "failed", search=rows._search, before=before
    )
    last = found.found[-1] if found.found else None
    rows._end_here = WebhookPlace(last.at, last.id) if last else None
    health = await webhooks.health(principal)
    rows.shown = view.events_view(found, health, which, len(rows._ends) + 1)
    await notices.clear(rows)
