"""How many connections there may be is bounded, and compared with what the servers take."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from redis.asyncio import Redis

from aisaas.adapters.redis_client import make_listening_redis, make_redis
from aisaas.cli.checklist import budget
from aisaas.cli.checklist.database import Connections, connections
from aisaas.cli.checklist.findings import Finding
from aisaas.wiring import Services
from devstack.stack import Stack
from tests.production.conftest import Configure


@pytest.fixture
def to(configure: Configure) -> Generator[Connections]:
    with connections(configure()) as found:
        yield found


def test_the_pools_of_a_process_are_what_the_budget_says(services: Services) -> None:
    limits = [use.limit for pools in services.pools().values() for use in pools.values()]
    assert sum(limits) == budget.DATABASE_CONNECTIONS


async def test_no_client_of_redis_opens_more_than_the_budget_says(stack: Stack) -> None:
    url = stack.env["REDIS_URL"]
    counting = Redis.from_url(url, decode_responses=True)
    for client, most in (
        (make_redis(url), budget.MAX_CONNECTIONS),
        (make_listening_redis(url, block_seconds=1), budget.LISTENING_CONNECTIONS),
    ):
        name = f"budget-{uuid4().hex}"
        client.connection_pool.connection_kwargs["client_name"] = name
        # More at once than there may be connections: they take turns.
        asked: list[Any] = [client.blpop(["nobody-pushes"], timeout=0.05) for _ in range(most + 20)]
        await asyncio.gather(*asked, return_exceptions=True)
        mine = [each for each in await counting.client_list() if each["name"] == name]
        assert 0 < len(mine) <= most
        await client.aclose()
    await counting.aclose()


def test_the_framework_is_bounded_and_its_clients_are_as_many_as_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from reflex.utils import prerequisites
    from reflex_base.environment import environment

    import rxconfig  # noqa: F401  # sets it

    assert environment.REFLEX_REDIS_MAX_CONNECTIONS.get() == budget.FRAMEWORK_CONNECTIONS
    monkeypatch.setattr(prerequisites, "parse_redis_url", lambda: "redis://127.0.0.1:1/0")
    client = prerequisites.get_redis()
    assert client is not None
    assert client.connection_pool.max_connections == budget.FRAMEWORK_CONNECTIONS


@pytest.mark.parametrize(
    ("limit", "state"),
    [(99, "failed"), (100, "warning"), (449, "warning"), (450, "ok")],
)
def test_what_the_servers_take_is_compared_at_its_edges(limit: int, state: str) -> None:
    """Two workers and one for jobs, and two more while they are replaced."""
    found = budget._compared("it", limit, 100, 50, 2, fix="raise it")
    assert found.state == state


def test_a_database_is_asked_for_its_limit(configure: Configure, to: Connections) -> None:
    config = configure()
    one = budget.of_database(config, to, workers=1)
    many = budget.of_database(config, to, workers=50)
    assert "197 can be used" in one.said
    assert (one.state, many.state) == ("warning", "warning")
    assert "max_connections" in many.fix


def test_a_login_that_may_open_fewer_is_what_counts(
    configure: Configure, superuser: psycopg.Connection
) -> None:
    with connections(configure()) as to:
        row = to.requests.execute("select session_user::text").fetchone()
        assert row is not None
        login = sql.Identifier(row[0])
        superuser.execute(sql.SQL("alter role {} connection limit 7").format(login))
        try:
            found = budget.of_database(configure(), to)
        finally:
            superuser.execute(sql.SQL("alter role {} connection limit -1").format(login))
    assert found.state == "failed"
    assert "14 can be used" in found.said


def test_behind_the_transaction_pooler_its_own_limit_counts(
    configure: Configure, to: Connections
) -> None:
    config = configure(database_url="postgresql://a:b@db.example.com:6543/postgres")
    found = budget.of_database(config, to)
    assert found.state == "skipped"
    assert "380" in found.said


def test_redis_is_asked_for_its_limit(configure: Configure) -> None:
    def look(workers: int) -> Finding:
        [found] = budget.of_redis(configure(tab_states="redis"), workers)
        return found

    assert look(2).state == "ok"
    assert look(60).state == "warning"
