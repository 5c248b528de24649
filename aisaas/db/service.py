"""Transactions that bypass row level security. Importers are named in pyproject.toml and few."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from sqlalchemy.ext.asyncio import AsyncSession

from aisaas.db.engine import DatabasePool, PipelinedQuery, T


class ServiceDatabase:
    """Opens transactions as `service_role`; grants still bound it, so the ledger stays append-only."""

    def __init__(self, login: DatabasePool) -> None:
        self._login = login

    def transaction(self, *, durable: bool = True) -> AbstractAsyncContextManager[AsyncSession]:
        return self._login.transaction("service_role", durable=durable)

    async def ask(self, question: PipelinedQuery[T], *, durable: bool = True) -> T:
        """One transaction in one round trip; see `DatabasePool.ask`."""
        return await self._login.ask("service_role", question, durable=durable)
