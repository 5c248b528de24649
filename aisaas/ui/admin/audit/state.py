"""The audit log, a page at a time."""

from __future__ import annotations

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.db.paging import Moment
from aisaas.ui import notices, payloads
from aisaas.ui.admin.audit.view import AuditView, audit_view
from aisaas.ui.admin.shell import admin_of, entered
from aisaas.wiring import services


class Audit(rx.State):
    ready: bool = False
    log: AuditView = AuditView()
    # They never come from the browser, except the search.
    _search: str = ""
    _ends: list[Moment] = []  # noqa: RUF012

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> None:
        principal = await entered(self)
        self._search, self._ends = "", []
        await _show(self, principal)
        self.ready = True

    @rx.event
    @notices.handle_errors
    async def find(self, form: dict[str, str]) -> None:
        principal = await admin_of(self)
        self._search, self._ends = payloads.search(form), []
        await _show(self, principal)

    @rx.event
    @notices.handle_errors
    async def older(self) -> None:
        principal = await admin_of(self)
        if self.log.older and self._end_here is not None:
            self._ends = [*self._ends, self._end_here]
            await _show(self, principal)

    @rx.event
    @notices.handle_errors
    async def newer(self) -> None:
        principal = await admin_of(self)
        self._ends = self._ends[:-1]
        await _show(self, principal)

    _end_here: Moment | None = None


async def _show(shown: Audit, principal: Principal) -> None:
    before = shown._ends[-1] if shown._ends else None
    found = await services().audit.page(principal, search=shown._search, before=before)
    shown._end_here = found.end
    shown.log = audit_view(found, len(shown._ends) + 1)
