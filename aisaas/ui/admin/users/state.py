"""The list of users, a page at a time."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from dataclasses import replace

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.billing.plans.terms import plans
from aisaas.ui import notices, payloads
from aisaas.ui.admin.shell import admin_of, entered
from aisaas.ui.admin.users import forms
from aisaas.ui.admin.users.view import UsersView, users_view
from aisaas.wiring import services


class Users(rx.State):
    ready: bool = False
    found: UsersView = UsersView()
    _search: str = ""

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> None:
        principal = await entered(self)
        self._search = ""
        await _show(self, principal, UsersView())
        self.ready = True

    @rx.event
    @notices.handle_errors
    async def find(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        self._search = payloads.search(form)
        await _show(self, principal, self.found)

    @rx.event
    @notices.handle_errors
    async def choose_plan(self, plan: str) -> None:
        principal = await admin_of(self)
        await _show(self, principal, replace(self.found, plan=forms.plan(plan)))

    @rx.event
    @notices.handle_errors
    async def choose_standing(self, standing: str) -> None:
        principal = await admin_of(self)
        await _show(self, principal, replace(self.found, standing=forms.standing(standing)))

    @rx.event
    @notices.handle_errors
    async def sort(self, key: str) -> None:
        principal = await admin_of(self)
        order = forms.order(key, self.found.order)
        await _show(self, principal, replace(self.found, order=order))

    @rx.event
    @notices.handle_errors
    async def earlier(self) -> None:
        await _show(self, await admin_of(self), self.found, self.found.pages.page - 1)

    @rx.event
    @notices.handle_errors
    async def later(self) -> None:
        await _show(self, await admin_of(self), self.found, self.found.pages.page + 1)


async def _show(shown: Users, principal: Principal, wanted: UsersView, page: int = 1) -> None:
    search = forms.search(shown._search, wanted.plan, wanted.standing, wanted.order, page)
    found = await services().users.find(principal, search)
    names = {plan.id: plan.label for plan in plans(services().settings).values()}
    shown.found = users_view(found, wanted.order, wanted.plan, wanted.standing, names)
    await notices.clear(shown)
