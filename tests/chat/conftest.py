"""Accounts to chat with."""

from __future__ import annotations

import pytest

from aisaas.callers import Caller
from aisaas.wiring import Services
from tests.services import Account, new_principal


@pytest.fixture
def account(services: Services) -> Account:
    """A fresh account that asks."""

    async def make(using: Services | None = None) -> Caller:
        return await new_principal(using or services)

    return make
