"""A database with enough of everything that reading all of a table is the slower way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import pytest_asyncio

from aisaas.settings import load
from aisaas.wiring import Services, build
from benchmarks.grown import Sizes, fill
from devstack.stack import Stack
from tests.services import EMBEDDED, NO_SENDERS
from tests.tenancy.databases import migrated_database

SIZES = Sizes(
    days=30,
    users=6000,
    lines=12_000,
    conversations=4000,
    messages=8000,
    deleted_messages=1500,
    sessions=6000,
    reservations=6000,
    refusals=6000,
    audit=8000,
    outbox=6000,
    reconciliations=6000,
    webhooks=6000,
    notices=6000,
)


@pytest.fixture(scope="session")
def grown_url(stack: Stack) -> Generator[str]:
    with migrated_database(stack) as url:
        fill(url, SIZES, datetime.now(UTC).date())
        _fill_write_offs(url)
        yield url


def _fill_write_offs(url: str) -> None:
    """Of users who aren't there any more: enough for the planner to prefer an index."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            insert into private.write_offs (period_key, user_id, subscription_id, reason, tokens, usd)
            select 'gone-' || n, gen_random_uuid(), 'sub_' || n, 'payment_failed', 1, 1
            from generate_series(1, 6000) n
            """
        )
        connection.execute("analyze private.write_offs")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def grown(stack: Stack, grown_url: str, catalogue: Path) -> AsyncGenerator[Services]:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    for name in ("database_url", "service_database_url"):
        old = urlsplit(str(values[name]))
        values[name] = old._replace(path=urlsplit(grown_url).path).geturl()
    services = build(
        load(
            **(
                values
                | {
                    "embedded_parts": EMBEDDED,
                    "model_catalogue": catalogue,
                    "default_model": "demo",
                }
                | NO_SENDERS
            )
        )
    )
    yield services
    await services.close()
