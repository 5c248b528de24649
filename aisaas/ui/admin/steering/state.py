"""The steering page: each action is asked for with a reason, done by the domain, and shown as it is then."""

from __future__ import annotations

from typing import Any

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.billing.plans import plans
from aisaas.ui import notices
from aisaas.ui.admin.shell import admin_of, done, entered
from aisaas.ui.admin.steering import asked, view
from aisaas.wiring import services


class Steering(rx.State):
    ready: bool = False
    caps: list[view.CapView] = []  # noqa: RUF012
    switches: list[view.SwitchView] = []  # noqa: RUF012
    models: list[view.ModelRowView] = []  # noqa: RUF012
    switch_fields: list[dict[str, Any]] = []  # noqa: RUF012
    told: str = ""

    @rx.event
    @notices.shown_on_load
    async def load(self) -> None:
        principal = await entered(self)
        await _show(self, principal)
        self.ready = True

    @rx.event
    @notices.shown
    async def set_cap(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        scope, usd = asked.scope(form), asked.usd_or_settings(form)
        await services().caps.set(scope, usd, actor=principal, reason=asked.word(form, "reason"))
        await _show(self, principal)
        await done(self, "Cap changed. It applies from the next call.")

    @rx.event
    @notices.shown
    async def engage(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        await services().switches.engage(
            asked.word(form, "scope"),
            actor=principal,
            reason=asked.word(form, "reason"),
            stop_running=asked.ticked(form, "stop_running"),
        )
        await _show(self, principal)
        await done(self, "New calls are stopped.")

    @rx.event
    @notices.shown
    async def lift(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        scope, reason = asked.word(form, "subject"), asked.word(form, "reason")
        await services().switches.lift(scope, actor=principal, reason=reason)
        await _show(self, principal)
        await done(self, "Calls resumed.")

    @rx.event
    @notices.shown
    async def change_model(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        await services().offers.change(
            asked.word(form, "subject"),
            asked.model_change(form, plans(services().settings)),
            actor=principal,
            reason=asked.word(form, "reason"),
        )
        await _show(self, principal)
        await done(self, "Model changed. It applies from the next call.")


async def _show(page: Steering, principal: Principal) -> None:
    sold = plans(services().settings)
    names = view.scope_names(services().switches.scopes, sold, services().catalogue.labels)
    engaged = await services().switches.seen_by(principal)
    page.caps = [view.cap_view(cap) for cap in await services().caps.today(principal)]
    page.switches = view.switch_views(engaged, names)
    page.switch_fields = view.switch_fields(names)
    differences = {each.model: each for each in await services().prices.differences(principal)}
    page.models = [
        view.model_view(shown, sold, differences.get(shown.offer.listed.id))
        for shown in await services().offers.seen_by(principal)
    ]
    page.told = view.told(
        mails=services().settings.smtp_url is not None,
        webhook=services().settings.alert_webhook_url is not None,
    )
