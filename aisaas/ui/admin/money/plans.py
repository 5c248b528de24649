"""Users whose plan isn't what the payment provider says: compared, and put right."""

from __future__ import annotations

from uuid import UUID

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.admin.money_entitlements import DifferencePlace
from aisaas.ui import notices, payloads
from aisaas.ui.admin.money import asked
from aisaas.ui.admin.money import plans_view as view
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class Plans(rx.State):
    shown: view.PlansView = view.PlansView()
    comparing: bool = False
    # They never come from the browser, except the search.
    _search: str = ""
    _ends: list[DifferencePlace] = []  # noqa: RUF012
    _end_here: DifferencePlace | None = None

    @rx.event
    @notices.shown
    async def choose(self, which: str) -> None:
        principal = await admin_of(self)
        which, self._ends = asked.choice(which, view.WHICH_PLANS), []
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
    async def compare(self, subject: str) -> None:
        principal = await admin_of(self)
        found = await services().money.entitlements.compare_one(
            principal, payloads.identifier(subject)
        )
        await show(self, principal, self.shown.which)
        await done(self, view.compared(found))

    @rx.event(background=True)
    @notices.shown_from_background
    async def compare_all(self) -> None:
        """The provider is asked about one user after the other: the page is free meanwhile."""
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
            await show(self, await admin_of(self), self.shown.which)
            await done(self, said)

    @rx.event
    @notices.shown
    async def correct(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        user_id = payloads.identifier(payloads.word(form, "subject"))
        found = await services().money.entitlements.correct(
            principal, user_id, reason=asked.reason(form)
        )
        await show(self, principal, self.shown.which)
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


async def begin(page: rx.State, principal: Principal) -> None:
    """As the page is when it is loaded."""
    plans = await page.get_state(Plans)
    # What compares has ended with the process that did, if it did.
    plans._search, plans._ends, plans.comparing = "", [], False
    await show(plans, principal, view.PlansView().which)


async def show(plans: Plans, principal: Principal, which: str) -> None:
    entitlements = services().money.entitlements
    found = await entitlements.page(
        principal,
        differing=which == "differing",
        search=plans._search,
        before=plans._ends[-1] if plans._ends else None,
    )
    last = found.found[-1] if found.found else None
    plans._end_here = DifferencePlace(last.found_at, last.id) if last else None
    health = await entitlements.health(principal)
    plans.shown = view.plans_view(found, health, which, len(plans._ends) + 1)
    await notices.clear(plans)
