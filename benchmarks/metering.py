"""How fast usage gets from the outbox to the meter, and whether all of it does, counted from both
sides: two workers, and a provider that fails now and then."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg

from aisaas.adapters.stripe_payments import StripePayments
from aisaas.billing.ports import EXTRA_USAGE_METER
from aisaas.db.migrate import upgrade
from aisaas.settings import PROJECT_ROOT
from devstack.stack import PARTS, Stack

CUSTOMERS = 200
WORKERS = 2
PATIENCE_SECONDS = 600.0
END_SECONDS = 30.0
METER = {
    "display_name": "AI tokens",
    "event_name": EXTRA_USAGE_METER,
    "default_aggregation[formula]": "sum",
    "customer_mapping[type]": "by_id",
    "customer_mapping[event_payload_key]": "stripe_customer_id",
    "value_settings[event_payload_key]": "value",
}
FAULTS = (
    {"kind": "lost_answer", "times": None, "probability": 0.01},
    {"kind": "conflict", "times": None, "probability": 0.005},
    {"kind": "server_error", "times": None, "probability": 0.005},
    {"kind": "rate_limit", "times": 2, "probability": 0.002},
)

_PERIOD = """
    insert into public.quota_periods (user_id, period_key, period_start, period_end, included)
      values (%(user)s, 'bench', now(), now() + interval '1 month', 0)
    """
_SEED = """
    with made as (
      select gen_random_uuid() as reservation, gen_random_uuid() as usage, n,
        1 + (n * 7919) %% 5000 as tokens, now() - interval '10 minutes' as at
      from generate_series(1, %(rows)s) n
    ), reserved as (
      insert into public.reservations (id, user_id, purpose, plan, model, period_key, tokens,
        cost_usd, prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier, state,
        lease_expires_at, closed_at)
      select reservation, %(user)s, 'reply', 'pro', 'demo', 'bench', 0, 0, 1, 1, 1, 1, at::date,
        false, 'settled', at, at from made
    ), booked as (
      insert into public.usage_records (id, reservation_id, user_id, purpose, plan, model, provider,
        prompt_tokens, completion_tokens, counted_by, weight, quota_tokens, period_key,
        input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome, created_at)
      select usage, reservation, %(user)s, 'reply', 'pro', 'demo', 'demo', 0, tokens, 'provider', 1,
        tokens, 'bench', 1, 1, 'bench', 0, 'done', at from made
    )
    insert into public.usage_outbox (usage_record_id, user_id, identifier, stripe_customer_id,
      meter, tokens, micro_usd, event_at)
    select usage, %(user)s, 'usage-' || usage,
      (%(customers)s::text[])[1 + n %% cardinality(%(customers)s::text[])], 'ai_extra_usage', tokens,
      tokens, at from made
    """


def measure(rows: int, customers: int = CUSTOMERS) -> dict[str, float]:
    """Rows a second from the first claim to the last answer, and the tokens on either side.

    Args:
        rows: lines of the ledger to be reported.
        customers: whose they are, one after the other.
    """
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        upgrade(stack.env["MIGRATION_DATABASE_URL"])
        api = httpx.Client(
            base_url=stack.env["STRIPE_API_BASE"],
            headers={"authorization": f"Bearer {stack.env['STRIPE_SECRET_KEY']}"},
            timeout=30,
        )
        with api, psycopg.connect(stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as ledger:
            api.post("/v1/billing/meters", data=METER).raise_for_status()
            ids = asyncio.run(_customers(stack.env, customers))
            seeded = {"user": uuid4(), "rows": rows, "customers": ids}
            ledger.execute(_PERIOD, seeded)
            ledger.execute(_SEED, seeded)
            for fault in FAULTS:
                wanted = {"operation": "POST /v1/billing/meter_events", **fault}
                api.post("/_control/faults", json=wanted).raise_for_status()
            with ExitStack() as running:
                for number in range(WORKERS):
                    running.enter_context(_worker(stack, Path(folder) / f"worker-{number}.log"))
                _wait_until_delivered(ledger)
            api.delete("/_control/faults").raise_for_status()
            seconds, booked = _delivered(ledger)
        counted = asyncio.run(_meter(stack.env, ids))
    return {
        "per_second": round(rows / seconds, 1),
        "ledger_tokens": booked,
        "meter_tokens": counted,
    }


def _payments(env: Mapping[str, str]) -> StripePayments:
    return StripePayments(env["STRIPE_SECRET_KEY"], api_base=env["STRIPE_API_BASE"])


async def _customers(env: Mapping[str, str], count: int) -> list[str]:
    payments = _payments(env)
    try:
        return [
            await payments.customer(uuid4(), f"{uuid4().hex}@example.com", "") for _ in range(count)
        ]
    finally:
        await payments.close()


async def _meter(env: Mapping[str, str], customers: Sequence[str]) -> int:
    payments = _payments(env)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start, end = midnight - timedelta(days=2), midnight + timedelta(days=1)
    try:
        return sum([await payments.reported_usage(each, start, end) for each in customers])
    finally:
        await payments.close()


@contextmanager
def _worker(stack: Stack, log: Path) -> Generator[None]:
    env = os.environ | stack.env | {"EMBEDDED_PARTS": ",".join(PARTS)}
    command = [sys.executable, "-m", "aisaas", "worker"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command, env=env, cwd=PROJECT_ROOT, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_delivered(ledger: psycopg.Connection) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    waiting = "select 1 from public.usage_outbox where state = 'pending' limit 1"
    while ledger.execute(waiting).fetchone():
        if time.monotonic() > deadline:
            raise TimeoutError("usage is still waiting to be delivered")
        time.sleep(0.1)


def _delivered(ledger: psycopg.Connection) -> tuple[float, int]:
    """How long it took, and the ledger's own sum."""
    row = ledger.execute(
        "select extract(epoch from max(o.sent_at) - min(o.first_sent_at))::double precision,"
        " (select sum(u.quota_tokens)::bigint from public.usage_records u)"
        " from public.usage_outbox o"
    ).fetchone()
    assert row is not None
    return float(row[0]), int(row[1])
