"""Whether this machine's clock agrees with the database's, Redis' and Stripe's.

Periods and rates follow the database and Redis; signatures, cookies and meter events follow this machine.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from email.utils import parsedate_to_datetime
from typing import Any

import psycopg
import redis

from aisaas.cli.checklist import cache
from aisaas.cli.checklist.database import Connections
from aisaas.cli.checklist.findings import Finding, fail, ok, skipped, warn
from aisaas.settings import Settings

STRIPE = "https://api.stripe.com"
ANSWER_SECONDS = 5
# The header has whole seconds, and the other clocks are read over a network.
WORTH_A_LOOK = 2.0
# A tenth of the difference that Stripe tolerates for a signature or a meter event.
TOO_MUCH = 30.0
SYNC = "turn on NTP (chrony or systemd-timesyncd) on the machine whose clock is wrong"

ReadClock = Callable[[], float]


def now() -> float:
    return time.time()


def look(config: Settings) -> Generator[Finding]:
    assert config.redis_url is not None
    url = config.redis_url.get_secret_value()
    yield _compared("clock: Redis", lambda: _redis(url))
    if config.stripe_secret_key is not None:
        base = config.stripe_api_base or STRIPE
        yield _compared("clock: Stripe", lambda: _stripe(base))


def of_database(to: Connections) -> Finding:
    return _compared("clock: database", lambda: _database(to))


def _compared(item: str, read: ReadClock) -> Finding:
    before = now()
    try:
        theirs = read()
    except (
        psycopg.Error,
        redis.RedisError,
        OSError,
        http.client.HTTPException,
        ValueError,
    ) as error:
        return skipped(item, f"unknown: {type(error).__name__}", "make sure that it can be reached")
    # The answer is from some moment during the request; only a time outside of it is a difference.
    ahead, behind = theirs - now(), before - theirs
    off = max(ahead, behind, 0.0)
    side = "ahead of" if ahead > behind else "behind"
    if off > TOO_MUCH:
        return fail(item, f"{off:.0f} s {side} this machine's", SYNC)
    if off > WORTH_A_LOOK:
        return warn(item, f"{off:.1f} s {side} this machine's", SYNC)
    return ok(item, "the same as this machine's")


def _database(to: Connections) -> float:
    row = to.catalog.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0])


def _redis(url: str) -> float:
    client = cache.connect(url)
    try:
        reply: Any = client.time()  # pyright: ignore[reportUnknownMemberType]
    finally:
        client.close()
    seconds, micros = reply
    return float(seconds) + float(micros) / 1_000_000


def _stripe(base: str) -> float:
    # Without a key the request is refused, but the response still has a date.
    request = urllib.request.Request(f"{base}/v1", method="GET")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            date = answer.headers["Date"]
    except urllib.error.HTTPError as error:
        with error:
            date = error.headers["Date"]
    return parsedate_to_datetime(date or "").timestamp()
