"""Transactions under the caller's identity: row level security decides what they see and write."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from aisaas.db.engine import claims_of, transaction


class UserDatabase:
    """Opens transactions as one user. It has no way to open one as anybody else's service."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def as_user(self, user_id: UUID) -> AbstractAsyncContextManager[AsyncSession]:
        return transaction(self._engine, "authenticated", claims=claims_of(user_id))

    def as_anonymous(self) -> AbstractAsyncContextManager[AsyncSession]:
        return transaction(self._engine, "anon")
