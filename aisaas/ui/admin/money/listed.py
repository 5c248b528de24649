"""What the page's tables have in common: they are filtered, searched, and paged."""

from __future__ import annotations

from typing import ClassVar

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.ui import notices
from aisaas.ui.admin.money import forms
from aisaas.ui.admin.paged import Paged
from aisaas.ui.admin.shell import admin_of


class Listed(Paged, mixin=True):
    """A table's `shown` also has `which`, one of the filters in WHICH; `_show` reads a page."""

    WHICH: ClassVar[tuple[tuple[str, str], ...]]

    async def _show(self, principal: Principal, which: str) -> None:
        """As `_show_page`, with another filter."""
        raise NotImplementedError

    async def _show_page(self, principal: Principal) -> None:
        await self._show(principal, self.shown.which)

    async def _begin(self, principal: Principal) -> None:
        """As the page is when it is loaded."""
        self._search, self._ends = "", []
        await self._show(principal, self.WHICH[0][0])

    @rx.event
    @notices.handle_errors
    async def choose(self, which: str) -> None:
        principal = await admin_of(self)
        which, self._ends = forms.choice(which, self.WHICH), []
        await self._show(principal, which)
        await notices.clear(self)
