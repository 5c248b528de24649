"""Users whose plan isn't what the payment provider says: compared, and corrected."""

from __future__ import annotations

from uuid import UUID

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.ui import notices, payloads
from aisaas.ui.admin.money import forms
from aisaas.ui.admin.money import plans_view as view
from aisaas.ui.admin.money.listed import Listed
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class Plans(Listed, rx.State):
    shown: view.PlansView = view.PlansView()
    comparing: bool = False
    WHICH = view.WHICH_PLANS

    async def _show(self, principal: Principal, which: str) -> None:
        entitlements = services().money.entitlements
        found = await entitlements.page(
            principal, differing=which == "differing", search=self._search, before=self._before
        )
        self._end_here = found.end
        health = await entitlements.health(principal)
        self.shown = view.plans_view(found, health, which, self._page)

    async def _begin(self, principal: Principal) -> None:
        # What compares has ended with the process that did, if it did.
        self.comparing = False
        await super()._begin(principal)

    @rx.event
    @notices.handle_errors
    async def compare(self, subject: str) -> None:
        principal = await admin_of(self)
        found = await services().money.entitlements.compare_one(
            principal, payloads.identifier(subject)
        )
        await self._show_again(principal)
        await done(self, view.compared(found))

    @rx.event(background=True)
    @notices.handle_background_errors
    async def compare_all(self) -> None:
        """Queries the provider one user at a time, without blocking the page."""
        async with self:
            principal = await admin_of(self)
            if self.comparing:
                return
            self.comparing = True
        try:
            said = await _compare_all(principal)
        finally:
            async with self:
                self.comparing = False
        async with self:
            await self._show_again(await admin_of(self))
            await done(self, said)

    @rx.event
    @notices.handle_errors
    async def correct(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        user_id = payloads.identifier(payloads.form_field(form, "subject"))
        found = await services().money.entitlements.correct(
            principal, user_id, reason=forms.reason(form)
        )
        await self._show_again(principal)
        await done(self, view.corrected(found))


async def _compare_all(principal: Principal) -> str:
    after: UUID | None = None
    looked = differing = unclear = 0
    while True:
        found = await services().money.entitlements.compare(principal, after=after)
        looked += found.looked
        differing += found.differing
        unclear += found.unclear
        if found.next is None:
            return view.compared_all(looked, differing, unclear)
        after = found.next
