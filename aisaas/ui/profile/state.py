"""The settings page's state: what is shown, and the name. All else is changed by forms (`api`)."""

from __future__ import annotations

import reflex as rx

from aisaas.ui import notices, payloads
from aisaas.ui.profile import view
from aisaas.ui.session import caller_of, principal_of, show_account
from aisaas.wiring import services


class Profile(rx.State):
    full_name: str = ""
    sessions: list[view.SessionView] = []  # noqa: RUF012
    # How often the name was saved since the page was loaded.
    saved: int = 0

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> None:
        caller = await caller_of(self)
        sessions = await services().accounts.sessions(caller)
        await show_account(self, caller)
        await notices.clear(self)
        self.full_name, self.saved = caller.full_name, 0
        self.sessions = view.session_views(sessions)

    @rx.event
    @notices.handle_errors
    async def rename(self, name: str) -> None:
        principal = await principal_of(self)
        accounts = services().accounts
        self.full_name = await accounts.rename(principal, payloads.full_name(name))
        self.saved += 1
        await notices.clear(self)
        await show_account(self, await caller_of(self))
