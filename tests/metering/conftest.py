"""A database with an outbox, the Stripe fake with a meter, and senders between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import psycopg
import pytest
import pytest_asyncio

from aisaas.adapters.stripe_payments import StripePayments
from aisaas.billing.metering.outbox import Outbox
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from devstack.stack import Stack
from devstack.tests.payments_client import (
    KEY,
    Counterpart,
    control,
    counterpart,
    variables_for,
)
from tests.metering.provider import Provider, Sql, make_meter, sender


@pytest.fixture(scope="session")
def stack(spare_stack: Stack) -> Stack:
    """The install on which no app runs: it would send what is to be sent here."""
    return spare_stack


@pytest.fixture(scope="session")
def running_provider(tmp_path_factory: pytest.TempPathFactory) -> Generator[Counterpart]:
    variables = variables_for(tmp_path_factory.mktemp("meter") / "books")
    with counterpart(variables) as running:
        make_meter(running)
        yield running


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Generator[Counterpart]:
    """A fake of its own for each file, because files move its clock."""
    with counterpart(variables_for(tmp_path_factory.mktemp("payments") / "books")) as running:
        yield running


@pytest.fixture
def sql(stack: Stack) -> Sql:
    """Runs a statement as the schema's owner."""

    def run(statement: str, *args: object) -> list[tuple[object, ...]]:
        with psycopg.connect(stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            cursor = connection.execute(statement, args)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

    return run


@pytest_asyncio.fixture(loop_scope="session")
async def provider(running_provider: Counterpart, sql: Sql) -> AsyncGenerator[Provider]:
    # Rows that other tests left behind are none of ours.
    sql(
        "update usage_outbox set state = 'dead', claim = null, claimed_until = null"
        " where state in ('pending', 'parked')"
    )
    sql("update usage_outbox set created_at = created_at - interval '3 hours'")
    sql("delete from meter_reconciliations")
    sql(
        "update private.metering set paused_until = now(), spent_until = now(),"
        " entered_until = now()"
    )
    payments = StripePayments(KEY, api_base=running_provider.url)
    async with control(running_provider.url) as client:
        yield Provider(running_provider, payments, client, sql)
        await client.delete("/faults")
    await payments.close()


@pytest_asyncio.fixture(loop_scope="session")
async def service(stack: Stack) -> AsyncGenerator[ServiceDatabase]:
    login = DatabasePool(stack.env["SERVICE_DATABASE_URL"])
    yield ServiceDatabase(login)
    await login.close()


@pytest.fixture
def outbox(service: ServiceDatabase, provider: Provider) -> Outbox:
    return sender(service, provider.payments)
