"""Customers' days in the ledger and in the meter: compared, corrected, settled."""

from __future__ import annotations

from datetime import date

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.admin.money_ledger import DayPlace
from aisaas.ui import notices, payloads
from aisaas.ui.admin.money import asked, view
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class Days(rx.State):
    shown: view.DaysView = view.DaysView()
    comparing: bool = False
    # They never come from the browser, except the search.
    _day: date | None = None
    _search: str = ""
    _ends: list[DayPlace] = []  # noqa: RUF012
    _end_here: DayPlace | None = None

    @rx.event
    @notices.shown
    async def choose(self, which: str) -> None:
        principal = await admin_of(self)
        which, self._ends = asked.choice(which, view.WHICH_DAYS), []
        await show(self, principal, which)

    @rx.event
    @notices.shown
    async def choose_day(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        self._day, self._ends = asked.day(form), []
        await show(self, principal, self.shown.which)

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
    async def compare(self, subject: str) -> None:
        principal = await admin_of(self)
        found = await services().money.ledger.compare(principal, *asked.customer_day(subject))
        await show(self, principal, self.shown.which)
        await done(self, view.compared(found.open_drift, moving=found.moving))

    @rx.event(background=True)
    @notices.shown_from_background
    async def compare_day(self) -> None:
        """The provider is asked about one customer after the other: the page is free meanwhile."""
        async with self:
            principal = await admin_of(self)
            if self.comparing or self._day is None:
                return
            day, self.comparing = self._day, True
        try:
            found = await services().money.ledger.compare_day(principal, day)
        finally:
            async with self:
                self.comparing = False
        async with self:
            await show(self, await admin_of(self), self.shown.which)
            who = view.times(len(found), "customer was", "customers were")
            await done(self, f"{who} compared for {view.in_words(day)}.")

    @rx.event
    @notices.shown
    async def correct(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        customer, day = asked.customer_day(payloads.word(form, "subject"))
        found = await services().money.ledger.correct(
            principal, customer, day, reason=asked.reason(form)
        )
        await show(self, principal, self.shown.which)
        await done(self, view.corrected(found))

    @rx.event
    @notices.shown
    async def settle(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        customer, day = asked.customer_day(payloads.word(form, "subject"))
        tokens = await services().money.ledger.settle(
            principal, customer, day, reason=asked.reason(form)
        )
        await show(self, principal, self.shown.which)
        await done(self, f"{view.signed(tokens)} tokens are marked as settled.")


async def begin(page: rx.State, principal: Principal) -> None:
    """As the page is when it is loaded."""
    days = await page.get_state(Days)
    # What compares has ended with the process that did, if it did.
    days._day, days._search, days._ends, days.comparing = None, "", [], False
    await show(days, principal, view.DaysView().which)


async def show(days: Days, principal: Principal, which: str) -> None:
    # A place before every customer of that day.
    first = DayPlace(days._day, "") if days._day else None
    ledger = services().money.ledger
    found = await ledger.page(
        principal,
        differing=which == "differing",
        search=days._search,
        before=days._ends[-1] if days._ends else first,
    )
    last = found.found[-1] if found.found else None
    days._end_here = DayPlace(last.day, last.customer) if last else None
    health = await ledger.health(principal)
    days.shown = view.days_view(found, health, which, days._day, len(days._ends) + 1)
    await notices.clear(days)
