"""Whether a user may set a password without the current one: for a while after an email link.

This decides only what the page shows; `Accounts.change_password` decides what is allowed.
"""

from __future__ import annotations

import reflex as rx

from aisaas.errors import Refusal
from aisaas.ui import notices
from aisaas.ui.session import caller_of, show_account


class Recovery(rx.State):
    """`standing` is "chooses", "signed_in" or "nobody"; empty while it isn't known."""

    standing: str = ""
    email: str = ""

    @rx.event
    @notices.handle_errors
    async def look(self) -> None:
        try:
            caller = await caller_of(self)
            await show_account(self, caller)
        except Refusal:
            # Offer a new link to a visitor, and also when the user can't be identified.
            self.standing = "nobody"
            return
        self.standing = "chooses" if caller.recovered else "signed_in"
        self.email = caller.email
