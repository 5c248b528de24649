"""How soon the admins' dashboard of usage is there over a long ledger, and whether its sums are the
ledger's to the last token.

The ledger is filled a day at a time, with its triggers as they are: the sums are made by what makes
them in the product. A load is what the page requests: the span's report, a page of users, and the
current activity, one after another, through the service and with an admin's cookie.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg

from aisaas.billing.ledger.usage_models import Span, UserSort
from aisaas.billing.ledger.usage_reports import FIGURES, WIDTHS
from aisaas.db.migrate import upgrade
from aisaas.settings import load
from aisaas.wiring import Services, build
from benchmarks.grown import DAYS, fill_usage
from devstack.stack import PARTS, Stack

USERS = 10_000
ROUNDS = 200
# How many looks go back, and how many search.
BACK, SEARCHED = 0.3, 0.2
HOURLY_DAYS = 7
SORTS: tuple[UserSort, ...] = ("requests", "tokens", "cost", "overage", "errors", "email")
# Spans in days, repeated by how often users choose them.
SPANS = (1, 7, 7, 30, 30, 30, 30, 90, 90, DAYS)

_TABLES = (
    "public.usage_records, public.usage_days, private.usage_totals, private.usage_by_user,"
    " public.refusals, public.subscriptions, public.reservations, private.provider_errors"
)
# The same columns everywhere, in the order of FIGURES.
_LEDGER = """
    select count(*), count(*) filter (where outcome = 'stopped'),
      count(*) filter (where outcome = 'interrupted'), count(*) filter (where outcome = 'failed'),
      sum(prompt_tokens), sum(cached_prompt_tokens), sum(completion_tokens), sum(quota_tokens),
      sum(cost_usd), sum(overage_usd) from public.usage_records
    """
_SUMS = """
    select sum(requests), sum(stopped), sum(interrupted), sum(failed), sum(prompt_tokens),
      sum(cached_prompt_tokens), sum(completion_tokens), sum(quota_tokens), sum(cost_usd),
      sum(overage_usd) from private.usage_totals group by step
    union all
    select sum(requests), sum(stopped), sum(interrupted), sum(failed), sum(prompt_tokens),
      sum(cached_prompt_tokens), sum(completion_tokens), sum(quota_tokens),
      sum(cost_micros) * 0.000001, sum(overage_micros) * 0.000001 from private.usage_by_user group by days
    """
# Steps and widths.
TABLES = 2 + len(WIDTHS)
_OF_DAYS = ("requests", "prompt_tokens", "completion_tokens", "quota_tokens", "cost_usd")
_DAYS = """
    select sum(requests), sum(prompt_tokens), sum(completion_tokens), sum(quota_tokens),
      sum(cost_usd) from public.usage_days
    """


def measure(rows: int, users: int = USERS, rounds: int = ROUNDS) -> dict[str, object]:
    """Milliseconds of a load, the 95th of a hundred, and whether every sum is the ledger's.

    Args:
        rows: lines of the ledger, over half a year.
        users: whose they are.
        rounds: how many loads are timed.
    """
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        upgrade(stack.env["MIGRATION_DATABASE_URL"])
        return asyncio.run(_measure(stack, rows, users, rounds))


async def _measure(stack: Stack, rows: int, users: int, rounds: int) -> dict[str, object]:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    services = build(load(**(values | {"embedded_parts": ",".join(PARTS)})))
    try:
        cookie = await _first_account(services)
        last = datetime.now(UTC).date()
        first = last - timedelta(days=DAYS - 1)
        url = stack.env["MIGRATION_DATABASE_URL"]
        await asyncio.to_thread(_fill, url, rows, users, first)
        whole = Span(first, last)
        dice = random.Random(7)  # noqa: S311  # not for secrets
        for _ in range(rounds // 10):
            await _load(services, cookie, whole, dice)
        loads = [await _load(services, cookie, whole, dice) for _ in range(rounds)]
        matches = await _matches(services, cookie, whole, url)
    finally:
        await services.close()
    return {
        "rows": rows,
        "p95_ms": round(statistics.quantiles(loads, n=20)[-1], 1),
        "sum_matches": matches,
    }


async def _first_account(services: Services) -> str:
    """The cookie of an admin: the first account is one."""
    signed_in = await services.accounts.sign_up(
        f"{uuid4().hex}@example.com", "a password for a measurement", "", user_agent="bench"
    )
    assert signed_in is not None
    return f"{services.cookie}={signed_in.token}"


def _fill(url: str, rows: int, users: int, first: date) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute("set work_mem = '256MB'")
        fill_usage(connection, users, rows, rows // 100, first)
        # As autovacuum would do sooner or later.
        connection.execute(f"vacuum analyze {_TABLES}")  # pyright: ignore[reportArgumentType, reportCallIssue]


async def _load(services: Services, cookie: str, whole: Span, dice: random.Random) -> float:
    """Milliseconds to load the page once, with a chosen span, order and search."""
    days = dice.choice(SPANS)
    back = dice.randrange(0, DAYS - days + 1) if dice.random() < BACK else 0
    last = whole.last - timedelta(days=back)
    span = Span(last - timedelta(days=days - 1), last)
    begin = time.perf_counter()
    principal = await services.accounts.principal(cookie)
    reports = services.usage_reports
    report = await reports.report(principal, span, step="hour" if days <= HOURLY_DAYS else "day")
    search = f"user-{dice.randrange(1, 99)}" if dice.random() < SEARCHED else ""
    page = await reports.users(
        principal,
        span,
        search=search,
        sort=dice.choice(SORTS),
        direction=dice.choice(("up", "down")),
        page=dice.choice((1, 1, 1, 2, 5)),
    )
    live = await reports.live(principal)
    elapsed = (time.perf_counter() - begin) * 1000
    assert report.total.figures.requests > 0
    assert page.users or search
    assert live.running > 0
    return elapsed


async def _matches(services: Services, cookie: str, whole: Span, url: str) -> bool:
    """What the page shows of all days, and every table of sums, against the ledger's own sum."""
    principal = await services.accounts.principal(cookie)
    shown = (await services.usage_reports.report(principal, whole)).total.figures
    with psycopg.connect(url, autocommit=True) as connection:
        ledger = connection.execute(_LEDGER).fetchone()
        sums = connection.execute(_SUMS).fetchall()
        days = connection.execute(_DAYS).fetchone()
    assert ledger is not None
    wanted = dict(zip(FIGURES, ledger, strict=True))
    return (
        len(sums) == TABLES
        and all(found == ledger for found in sums)
        and days == tuple(wanted[name] for name in _OF_DAYS)
        and {name: getattr(shown, name) for name in FIGURES} == wanted
    )
