"""What searchable tables have in common that are read a page at a time, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.ui import notices, payloads
from aisaas.ui.admin.shell import admin_of


class Paged(rx.State, mixin=True):
    """A table's state has a var `shown` with `older`, and reads a page in `_show_page`."""

    if TYPE_CHECKING:
        shown: Any
    # They never come from the browser, except the search.
    _search: str = ""
    # Cursors: where the pages before this one end, and this one.
    _ends: list[Any] = []  # noqa: RUF012
    _end_here: Any = None

    async def _show_page(self, principal: Principal) -> None:
        """Read the page behind `_before`, set `shown`, and set `_end_here` to where it ends."""
        raise NotImplementedError

    async def _show_again(self, principal: Principal) -> None:
        await self._show_page(principal)
        await notices.clear(self)

    @rx.event
    @notices.handle_errors
    async def find(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        self._search, self._ends = payloads.search(form), []
        await self._show_again(principal)

    @rx.event
    @notices.handle_errors
    async def older(self) -> None:
        principal = await admin_of(self)
        if self.shown.older and self._end_here is not None:
            self._ends = [*self._ends, self._end_here]
            await self._show_again(principal)

    @rx.event
    @notices.handle_errors
    async def newer(self) -> None:
        principal = await admin_of(self)
        self._ends = self._ends[:-1]
        await self._show_again(principal)

    @property
    def _before(self) -> Any:
        return self._ends[-1] if self._ends else None

    @property
    def _page(self) -> int:
        """Counted from 1."""
        return len(self._ends) + 1
