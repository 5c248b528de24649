"""The audit log, a page at a time."""

from __future__ import annotations

import reflex as rx

from aisaas.accounts.models import Principal
from aisaas.ui import notices
from aisaas.ui.admin.audit.view import AuditView, audit_view
from aisaas.ui.admin.paged import Paged
from aisaas.ui.admin.shell import entered
from aisaas.wiring import services


class Audit(Paged, rx.State):
    ready: bool = False
    shown: AuditView = AuditView()

    @rx.event
    @notices.handle_load_errors
    async def load(self) -> None:
        principal = await entered(self)
        self._search, self._ends = "", []
        await self._show_page(principal)
        self.ready = True

    async def _show_page(self, principal: Principal) -> None:
        found = await services().audit.page(principal, search=self._search, before=self._before)
        self._end_here = found.end
        self.shown = audit_view(found, self._page)
