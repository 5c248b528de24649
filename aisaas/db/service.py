"""Transactions that bypass row level security. Importers are named in pyproject.toml and few."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from aisaas.db.engine import transaction


class ServiceDatabase:
    """Opens transactions as `service_role`; grants still bound it, so the ledger stays append-only."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def transaction(self, *, durable: bool = True) -> AbstractAsyncContextManager[AsyncSession]:
        return transaction(self._engine, "service_role", durable=durable)
