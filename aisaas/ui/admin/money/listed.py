"""What the page's tables have in common: they are narrowed, searched and turned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.ui import notices, payloads
from aisaas.ui.admin.money import forms
from aisaas.ui.admin.shell import admin_of


class Listed(rx.State, mixin=True):
    """A table's state has a var `shown` with `which` and `older`, says in WHICH what it can be narrowed
    to, and finds a page in `_show`."""

    if TYPE_CHECKING:
        shown: Any
    WHICH: ClassVar[tuple[tuple[str, str], ...]]
    # They never come from the browser, except the search.
    _search: str = ""
    # Places in the list: where the pages before this one end, and this one.
    _ends: list[Any] = []  # noqa: RUF012
    _end_here: Any = None

    async def _show(self, principal: Principal, which: str) -> None:
        """Find the page behind the last of `_ends`, set `shown`, and note where it ends."""
        raise NotImplementedError

    async def _show_again(self, principal: Principal) -> None:
        await self._show(principal, self.shown.which)
        await notices.clear(self)

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
