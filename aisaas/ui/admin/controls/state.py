"""The controls page: each action needs a reason, is done by the domain, and then the page is
reloaded."""

from __future__ import annotations

from typing import Any

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.billing.plans.terms import plans
from aisaas.controls.model_overrides import ModelChange
from aisaas.ui import notices
from aisaas.ui.admin.controls import forms, view
from aisaas.ui.admin.shell import admin_of, done, entered
from aisaas.wiring import services


class Controls(rx.State):
    ready: bool = False
    caps: list[view.CapView] = []  # noqa: RUF012
    switches: list[view.SwitchView] = []  # noqa: RUF012
    models: list[view.ModelRowView] = []  # noqa: RUF012
    # The same for each of them.
    retire_fields: list[dict[str, Any]] = []  # noqa: RUF012
    # Models that admins added and that can't be sold.
    left_out: list[view.LeftOutView] = []  # noqa: RUF012
    # Providers that can list their models.
    providers: list[view.ProviderView] = []  # noqa: RUF012
    switch_fields: list[dict[str, Any]] = []  # noqa: RUF012
    alert_channels: str = ""

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> None:
        principal = await entered(self)
        await show(self, principal)
        self.ready = True

    @rx.event
    @notices.handle_errors
    async def set_cap(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        scope, usd = forms.scope(form), forms.usd_or_settings(form)
        await services().caps.set(
            scope, usd, actor=principal, reason=forms.form_field(form, "reason")
        )
        await show(self, principal)
        await done(self, "Cap changed. It applies from the next call.")

    @rx.event
    @notices.handle_errors
    async def engage(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        await services().live_catalogue.read()
        await services().switches.engage(
            forms.form_field(form, "scope"),
            actor=principal,
            reason=forms.form_field(form, "reason"),
            stop_running=forms.ticked(form, "stop_running"),
        )
        await show(self, principal)
        await done(self, "New calls are stopped.")

    @rx.event
    @notices.handle_errors
    async def lift(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        scope, reason = forms.form_field(form, "subject"), forms.form_field(form, "reason")
        await services().switches.lift(scope, actor=principal, reason=reason)
        await show(self, principal)
        await done(self, "Calls resumed.")

    @rx.event
    @notices.handle_errors
    async def change_model(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        await services().offers.change(
            forms.form_field(form, "subject"),
            forms.model_change(form, plans(services().settings)),
            actor=principal,
            reason=forms.form_field(form, "reason"),
        )
        await show(self, principal)
        await done(self, "Model changed. It applies from the next call.")

    @rx.event
    @notices.handle_errors
    async def retire_model(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        model, reason = forms.form_field(form, "subject"), forms.form_field(form, "reason")
        wanted = forms.retirement(form)
        await services().offers.change(model, wanted, actor=principal, reason=reason)
        await show(self, principal)
        await done(self, "Model retired. Running replies finish.")

    @rx.event
    @notices.handle_errors
    async def restore_model(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        model, reason = forms.form_field(form, "subject"), forms.form_field(form, "reason")
        wanted = ModelChange(retired=False)
        await services().offers.change(model, wanted, actor=principal, reason=reason)
        await show(self, principal)
        await done(self, "Model restored. It's available from the next call.")

    @rx.event
    @notices.handle_errors
    async def remove_model(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        model, reason = forms.form_field(form, "subject"), forms.form_field(form, "reason")
        await services().found_models.remove(model, actor=principal, reason=reason)
        await show(self, principal)
        await done(self, "Model removed. Running replies finish.")


async def show(page: Controls, principal: Principal) -> None:
    # What can be stopped depends on the models.
    await services().live_catalogue.read()
    sold = plans(services().settings)
    names = view.scope_names(services().switches.scopes, sold, services().catalogue.labels)
    engaged = await services().switches.seen_by(principal)
    page.caps = [view.cap_view(cap) for cap in await services().caps.today(principal)]
    page.switches = view.switch_views(engaged, names)
    page.switch_fields = view.switch_fields(names)
    differences = {each.model: each for each in await services().prices.differences(principal)}
    offers = await services().offers.seen_by(principal)
    page.models = [
        view.model_view(shown, sold, differences.get(shown.offer.listed.id), offers)
        for shown in offers
    ]
    page.retire_fields = view.retire_fields(offers)
    page.left_out = [
        view.LeftOutView(each.id, each.label, f"{each.label} isn't sold: {each.reason}.")
        for each in await services().offers.left_out(principal)
    ]
    page.providers = [
        view.ProviderView(each.id, each.label) for each in services().found_models.providers
    ]
    page.alert_channels = view.alert_channels(
        mails=services().settings.smtp_url is not None,
        webhook=services().settings.alert_webhook_url is not None,
    )
