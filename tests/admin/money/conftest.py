"""Services for billing operations, an outbox that no other process empties, and the Stripe fake."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from aisaas.billing.metering.reconcile import Reconciliation
from aisaas.settings import load
from aisaas.wiring import Services, build
from devstack.stack import Stack
from devstack.tests.payments_client import KEY, Counterpart
from tests.admin.members import new_admin
from tests.metering import conftest as metering
from tests.metering.provider import Sql
from tests.services import Member

stack, running_provider, sql = metering.stack, metering.running_provider, metering.sql
provider, service, outbox = metering.provider, metering.service, metering.outbox


@pytest_asyncio.fixture(loop_scope="session")
async def services(stack: Stack, running_provider: Counterpart) -> AsyncGenerator[Services]:
    """A process that does what it is asked, and no job."""
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    values |= {
        "embedded_parts": "postgres,valkey,auth",
        # Some provider has to be named; nothing here calls it.
        "ollama_api_base": "http://127.0.0.1:9",
        "stripe_secret_key": KEY,
        "stripe_api_base": running_provider.url,
    }
    made = build(load(**values))
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def admin(services: Services, sql: Sql) -> Member:
    return await new_admin(services, sql)


@pytest.fixture
def reconciliation(services: Services) -> Reconciliation:
    assert services.metering is not None
    return services.metering.reconciliation
