"""How long a user's own page of usage takes to load once their ledger is long."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from aisaas.db.migrate import upgrade
from aisaas.settings import load
from aisaas.wiring import Services, build
from devstack.stack import PARTS, Stack

ROUNDS = 100
CONVERSATIONS = 200
OTHERS = 20

# Ninety days of one user, in one statement each; the sums by day are made by the ledger's trigger.
_SEED = """
    insert into public.quota_periods (user_id, period_key, period_start, period_end, included)
      values (%(user)s, 'month:' || to_char(now() at time zone 'UTC', 'YYYY-MM'),
        date_trunc('month', now() at time zone 'UTC') at time zone 'UTC',
        (date_trunc('month', now() at time zone 'UTC') + interval '1 month') at time zone 'UTC',
        1000000000);
    insert into public.conversations (id, user_id, title, model)
      select md5(%(user)s::text || c)::uuid, %(user)s, 'Conversation ' || c, 'demo'
      from generate_series(1, %(conversations)s) c;
    insert into public.reservations (id, user_id, purpose, plan, model, period_key, tokens, cost_usd,
        prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier, state,
        lease_expires_at, closed_at)
      select md5(%(user)s::text || 'r' || n)::uuid, %(user)s, 'reply', 'free',
        (array['demo', 'demo-large', 'gpt-4o', 'gpt-4o-mini'])[1 + n %% 4], q.period_key, 0, 0,
        1, 1, 1, 1, now()::date, true, 'settled', now(), now()
      from generate_series(1, %(records)s) n, public.quota_periods q where q.user_id = %(user)s;
    insert into public.usage_records (reservation_id, user_id, conversation_id, purpose, plan, model,
        provider, prompt_tokens, completion_tokens, counted_by, weight, quota_tokens, period_key,
        input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome, created_at)
      select md5(%(user)s::text || 'r' || n)::uuid, %(user)s,
        md5(%(user)s::text || 1 + n %% %(conversations)s)::uuid, 'reply', 'free',
        (array['demo', 'demo-large', 'gpt-4o', 'gpt-4o-mini'])[1 + n %% 4], 'demo', 100, 50,
        'provider', 1, 150, q.period_key, 1, 1, 'bench', 0.000150, 'done',
        now() - n * interval '90 days' / %(records)s
      from generate_series(1, %(records)s) n, public.quota_periods q where q.user_id = %(user)s;
    insert into public.refusals (user_id, code, minute, times, model)
      select %(user)s, (array['busy', 'rate_limited_minute', 'quota_exceeded'])[1 + n %% 3],
        date_trunc('minute', now()) - n * interval '15 minutes', 3, 'demo'
      from generate_series(1, 2800) n;
"""
_ANALYZE = (
    "analyze public.usage_records, public.usage_days, public.reservations, public.conversations,"
    " public.refusals, public.quota_periods"
)


def measure(records: int) -> dict[str, float]:
    """Milliseconds from the cookie to everything that the page shows, over the domain's calls.

    Args:
        records: lines of the ledger of the user whose page it is; some others have a tenth each.
    """
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        upgrade(stack.env["MIGRATION_DATABASE_URL"])
        return asyncio.run(_measure(stack, records))


async def _measure(stack: Stack, records: int) -> dict[str, float]:
    values: dict[str, object] = {name.lower(): value for name, value in stack.env.items()}
    services = build(load(**(values | {"embedded_parts": ",".join(PARTS)})))
    try:
        cookie, user_id = await _sign_up(services)
        strangers = [(await _sign_up(services))[1] for _ in range(OTHERS)]
        seeds = [(user_id, records), *((other, records // 10) for other in strangers)]
        await asyncio.to_thread(_seed, stack.env["MIGRATION_DATABASE_URL"], seeds)
        await _load(services, cookie)
        loads = [await _load(services, cookie) for _ in range(ROUNDS)]
    finally:
        await services.close()
    return {
        "records": records,
        "load_ms_p50": round(statistics.median(loads), 1),
        "load_ms_p95": round(statistics.quantiles(loads, n=20)[-1], 1),
    }


async def _sign_up(services: Services) -> tuple[str, UUID]:
    signed_in = await services.accounts.sign_up(
        f"{uuid4().hex}@example.com", "a password for a measurement", "", user_agent="bench"
    )
    assert signed_in is not None
    cookie = f"{services.cookie}={signed_in.token}"
    return cookie, (await services.accounts.principal(cookie)).user_id


def _seed(url: str, seeds: list[tuple[UUID, int]]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for user_id, records in seeds:
            values = {"user": user_id, "records": records, "conversations": CONVERSATIONS}
            for statement in _SEED.split(";\n"):
                if statement.strip():
                    connection.execute(statement, values)  # pyright: ignore[reportArgumentType, reportCallIssue]
        connection.execute(_ANALYZE)


async def _load(services: Services, cookie: str) -> float:
    """What the page's handler asks for."""
    begin = time.perf_counter()
    caller = await services.callers.resolve(cookie)
    shown = await services.usage.overview(caller.billing)
    elapsed = (time.perf_counter() - begin) * 1000
    assert len(shown.calls.calls) > 0
    assert len(shown.days) > 0
    return elapsed
