"""Admin services on the real database."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest_asyncio

from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from devstack.stack import Stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(stack: Stack) -> AsyncGenerator[ServiceDatabase]:
    login = DatabasePool(stack.env["SERVICE_DATABASE_URL"])
    yield ServiceDatabase(login)
    await login.close()
