"""Customers' days in the ledger and in the meter: compared, corrected, settled."""

from __future__ import annotations

from datetime import date

import reflex as rx

from aisaas import formats
from aisaas.accounts.models import Principal
from aisaas.db.paging import Cursor
from aisaas.ui import notices, payloads
from aisaas.ui.admin.money import forms, view
from aisaas.ui.admin.money.listed import Listed
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class Days(Listed, rx.State):
    shown: view.DaysView = view.DaysView()
    comparing: bool = False
    WHICH = view.WHICH_DAYS
    _day: date | None = None

    async def _show(self, principal: Principal, which: str) -> None:
        # A place before every customer of that day.
        first = Cursor(self._day, "") if self._day else None
        ledger = services().money.ledger
        found = await ledger.page(
            principal,
            differing=which == "differing",
            search=self._search,
            before=self._before or first,
        )
        self._end_here = found.end
        health = await ledger.health(principal)
        self.shown = view.days_view(found, health, which, self._day, self._page)

    async def _begin(self, principal: Principal) -> None:
        # What compares has ended with the process that did, if it did.
        self._day, self.comparing = None, False
        await super()._begin(principal)

    @rx.event
    @notices.handle_errors
    async def choose_day(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        self._day, self._ends = forms.day(form), []
        await self._show_again(principal)

    @rx.event
    @notices.handle_errors
    async def compare(self, subject: str) -> None:
        principal = await admin_of(self)
        found = await services().money.ledger.compare(principal, *forms.customer_day(subject))
        await self._show_again(principal)
        await done(self, view.compared(found.open_drift, found.meter_name, moving=found.moving))

    @rx.event(background=True)
    @notices.handle_background_errors
    async def compare_day(self) -> None:
        """Queries the provider one customer at a time, without blocking the page."""
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
            await self._show_again(await admin_of(self))
            who = view.times(len(found), "customer was", "customers were")
            await done(self, f"{who} compared for {formats.day(day)}.")

    @rx.event
    @notices.handle_errors
    async def correct(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        customer, day = forms.customer_day(payloads.form_field(form, "subject"))
        found = await services().money.ledger.correct(
            principal, customer, day, reason=forms.reason(form)
        )
        await self._show_again(principal)
        await done(self, view.corrected(found))

    @rx.event
    @notices.handle_errors
    async def settle(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        customer, day = forms.customer_day(payloads.form_field(form, "subject"))
        await services().money.ledger.settle(principal, customer, day, reason=forms.reason(form))
        await self._show_again(principal)
        await done(self, "The day is marked as settled.")
