"""Transactions under the caller's identity: row level security decides what they see and write."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.db.engine import DatabasePool, PipelinedQuery, T, claims_of


class UserDatabase:
    """Opens transactions as one user. It has no way to open one as anybody else's service."""

    def __init__(self, login: DatabasePool) -> None:
        self._login = login

    def as_user(self, user_id: UUID) -> AbstractAsyncContextManager[AsyncSession]:
        return self._login.transaction("authenticated", claims=claims_of(user_id))

    def as_anonymous(self) -> AbstractAsyncContextManager[AsyncSession]:
        return self._login.transaction("anon")

    async def fetch_as(self, user_id: UUID, question: PipelinedQuery[T]) -> T:
        """One transaction as `user_id` in one round trip; see `DatabasePool.ask`."""
        return await self._login.ask("authenticated", question, claims=claims_of(user_id))
