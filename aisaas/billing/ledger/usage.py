"""What a user used, as they may read it: queries run as the user, so row level security applies.

Days come from a sum that the ledger keeps itself (docs/decisions/0008), so that a page costs the
same after a hundred thousand replies as after ten.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.accounts.models import Principal
from aisaas.billing.ledger import store as ledger_store
from aisaas.billing.ledger.models import CallPage, Overview
from aisaas.billing.plans.models import BillingAccount, Limits
from aisaas.billing.plans.periods import running
from aisaas.db.paging import Moment
from aisaas.db.user import UserDatabase
from aisaas.errors import DependencyError, Unavailable

# The titles of those of some conversations that their owner hasn't deleted.
TitlesOf = Callable[[AsyncSession, Collection[UUID]], Awaitable[Mapping[UUID, str]]]


class Usage:
    """Reads; what there is to read is written by settling and by the guards."""

    def __init__(
        self,
        user: UserDatabase,
        limits_of: Callable[[BillingAccount], Limits],
        titles_of: TitlesOf,
    ) -> None:
        self._user = user
        self._limits_of = limits_of
        self._titles_of = titles_of

    async def overview(self, account: BillingAccount) -> Overview:
        """The allowance, the last days, the newest receipts and the refusals; one transaction."""
        async with self._reading(account.user_id) as session:
            found = await ledger_store.overview(
                session, account.user_id, running(account), self._limits_of(account)
            )
            return replace(found, calls=await self._titled(session, found.calls))

    async def older(self, principal: Principal, than: Moment) -> CallPage:
        async with self._reading(principal.user_id) as session:
            page = await ledger_store.older_calls(session, principal.user_id, than)
            return await self._titled(session, page)

    async def newer(self, principal: Principal, than: Moment) -> CallPage:
        async with self._reading(principal.user_id) as session:
            page = await ledger_store.newer_calls(session, principal.user_id, than)
            return await self._titled(session, page)

    async def _titled(self, session: AsyncSession, page: CallPage) -> CallPage:
        ids = {call.conversation_id for call in page.calls if call.conversation_id is not None}
        if not ids:
            return page
        titles = await self._titles_of(session, ids)
        calls = [
            replace(call, title=titles.get(call.conversation_id) if call.conversation_id else None)
            for call in page.calls
        ]
        return replace(page, calls=tuple(calls))

    @asynccontextmanager
    async def _reading(self, user_id: UUID) -> AsyncGenerator[AsyncSession]:
        try:
            async with self._user.as_user(user_id) as session:
                yield session
        except DependencyError as error:
            raise Unavailable from error
