"""Models that providers list for our keys, loaded on request, and adding one of them."""

from __future__ import annotations

import dataclasses

import reflex as rx

from aisaas.billing.plans.terms import plans
from aisaas.ui import notices, payloads
from aisaas.ui.admin.controls import forms, view
from aisaas.ui.admin.controls.state import Controls, show
from aisaas.ui.admin.shell import admin_of, done
from aisaas.wiring import services


class FoundModels(rx.State):
    rows: list[view.FoundView] = []  # noqa: RUF012
    # The progress, or how many models were found.
    said: str = ""
    asking: bool = False

    @rx.event(background=True)
    @notices.handle_background_errors
    async def find(self, form: dict[str, str]) -> None:
        """The provider may take its time: the page is free meanwhile."""
        provider, words = forms.form_field(form, "provider"), payloads.search(form)
        async with self:
            principal = await admin_of(self)
            await notices.clear(self)
            self.rows, self.said, self.asking = [], "Asking the provider…", True
        said = ""
        try:
            found = await services().found_models.find(principal, provider, words)
            said = view.found_words(found)
        finally:
            async with self:
                self.said, self.asking = said, False
        async with self:
            shown = await services().offers.seen_by(await admin_of(self))
            sold = plans(services().settings)
            self.rows = [view.found_view(each, sold, shown) for each in found.models]

    @rx.event
    @notices.handle_errors
    async def add(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        wanted = forms.new_model(form, plans(services().settings))
        reason = forms.form_field(form, "reason")
        await services().found_models.add(wanted, actor=principal, reason=reason)
        await show(await self.get_state(Controls), principal)
        subject = forms.form_field(form, "subject")
        self.rows = [
            dataclasses.replace(row, listed=wanted.label) if row.subject == subject else row
            for row in self.rows
        ]
        await done(self, f"{wanted.label} added. It's available from the next call.")
