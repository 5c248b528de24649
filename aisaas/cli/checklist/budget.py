"""Connections: how many our processes may open, and how many the database and Redis accept.

These are upper limits, not averages: a pool opens only what it needs. While all workers are being
replaced, there are twice as many of them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

import redis

from aisaas.adapters.redis_client import LISTENING_CONNECTIONS, MAX_CONNECTIONS
from aisaas.cli.checklist import cache
from aisaas.cli.checklist.database import TRANSACTION_POOLER, Connections
from aisaas.cli.checklist.findings import Finding, fail, ok, skipped, warn
from aisaas.db.engine import ASKING_POOL_SIZE, POOL_OVERFLOW, POOL_SIZE
from aisaas.settings import Settings

# The processes that compose.yaml and the systemd units start.
WORKERS = 2
JOBS_WORKERS = 1
LOGINS = 2
# Per process: for each login, the pool for transactions and the one for single queries.
DATABASE_CONNECTIONS = LOGINS * (POOL_SIZE + POOL_OVERFLOW + ASKING_POOL_SIZE)
# The framework's limit for each of its clients (rxconfig.py), and how many clients it has: one for tabs'
# states, one for their tokens, one for its own health check.
FRAMEWORK_CONNECTIONS = 16
FRAMEWORK_CLIENTS = 3
REDIS_CONNECTIONS = MAX_CONNECTIONS + LISTENING_CONNECTIONS
TAB_CONNECTIONS = FRAMEWORK_CLIENTS * FRAMEWORK_CONNECTIONS


def of_database(config: Settings, to: Connections, workers: int = WORKERS) -> Finding:
    item = "database connections"
    assert config.database_url is not None
    if urlsplit(config.database_url.get_secret_value()).port == TRANSACTION_POOLER:
        most = _at_most(DATABASE_CONNECTIONS, workers, jobs=DATABASE_CONNECTIONS)
        return skipped(
            item,
            f"the transaction pooler has its own limit; the app opens at most {most}",
            "compare with Supabase dashboard > Database > Connection pooling: max client connections",
        )
    row = to.catalog.execute(
        "select current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true)::int, 0)"
    ).fetchone()
    assert row is not None
    limits = [int(row[0])]
    for connection in (to.requests, to.service):
        own = connection.execute(
            "select rolconnlimit from pg_roles where rolname = session_user"
        ).fetchone()
        if own is not None and own[0] >= 0:
            # Each login opens half of a process's connections.
            limits.append(LOGINS * int(own[0]))
    return _compared(
        item,
        min(limits),
        DATABASE_CONNECTIONS,
        DATABASE_CONNECTIONS,
        workers,
        fix="raise max_connections (and the logins' connection limit), or use the transaction pooler",
    )


def of_redis(config: Settings, workers: int = WORKERS) -> Generator[Finding]:
    item = "Redis connections"
    assert config.redis_url is not None
    client = cache.connect(config.redis_url.get_secret_value())
    each = REDIS_CONNECTIONS + (TAB_CONNECTIONS if config.tab_states == "redis" else 0)
    try:
        clients_info: Any = client.info("clients")  # pyright: ignore[reportUnknownMemberType]
    except redis.ResponseError:
        clients_info = {}
    except redis.RedisError:
        # Already reported, with its reason.
        return
    finally:
        client.close()
    if "maxclients" not in clients_info:
        most = _at_most(each, workers, jobs=REDIS_CONNECTIONS)
        yield skipped(
            item,
            f"its limit is unknown; the app opens at most {most}",
            "compare with the maximum number of clients in your Redis host's settings",
        )
        return
    fix = "raise maxclients at your Redis host"
    yield _compared(
        item, int(clients_info["maxclients"]), each, REDIS_CONNECTIONS, workers, fix=fix
    )


def _at_most(each: int, workers: int, *, jobs: int) -> int:
    return each * 2 * workers + jobs * JOBS_WORKERS


def _compared(item: str, limit: int, each: int, jobs: int, workers: int, *, fix: str) -> Finding:
    serving = each * workers + jobs * JOBS_WORKERS
    restarting = _at_most(each, workers, jobs=jobs)
    said = (
        f"{limit} can be used; {workers} workers and {JOBS_WORKERS} for jobs open at most {serving}, "
        f"or {restarting} while workers are being replaced"
    )
    if limit < each:
        return fail(item, f"{limit} can be used, but one worker alone opens up to {each}", fix)
    if limit < restarting:
        return warn(item, said, f"{fix}, or serve with fewer workers")
    return ok(item, said)
