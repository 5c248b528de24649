"""The Stripe fake as the metering tests use it, and helpers that change outbox rows."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from aisaas.adapters.stripe_payments import StripePayments
from aisaas.billing.metering.outbox import Outbox
from aisaas.billing.ports import EXTRA_USAGE_METER, MeterEvent, Payments
from aisaas.db.service import ServiceDatabase
from devstack.tests.payments_client import KEY, Counterpart

Sql = Callable[..., list[tuple[object, ...]]]

SEND = "POST /v1/billing/meter_events"
READ = "GET /v1/billing/meters/{id}/event_summaries"

# A call that was settled some time ago, and the intent to report it: a millionth of a dollar a token.
_SEED = """
    with owner as (
      insert into public.quota_periods (user_id, period_key, period_start, period_end, included)
      values (gen_random_uuid(), 'tests', now(), now() + interval '1 month', 0)
      returning user_id as owner
    ), made as (
      select gen_random_uuid() as reservation, gen_random_uuid() as usage, owner, tokens, now() - make_interval(secs => %s) as at
      from unnest(%s::bigint[]) as tokens, owner
    ), reserved as (
      insert into public.reservations (id, user_id, purpose, plan, model, period_key, tokens,
        cost_usd, prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier, state,
        lease_expires_at, closed_at, created_at)
      select reservation, owner, 'reply', 'pro', 'demo', 'tests', 0, 0, 1, 1, 1, 1, at::date, false,
        'settled', at, at, at from made returning id
    ), booked as (
      insert into public.usage_records (id, reservation_id, user_id, purpose, plan, model, provider,
        prompt_tokens, completion_tokens, counted_by, weight, quota_tokens, period_key,
        input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome, created_at)
      select usage, reservation, owner, 'reply', 'pro', 'demo', 'demo', 1, 1, 'provider', 1, tokens,
        'tests', 1, 1, 'tests', 0, 'done', at from made returning id
    )
    insert into public.usage_outbox (usage_record_id, user_id, identifier, stripe_customer_id,
      meter, tokens, micro_usd, event_at)
    select usage, owner, 'usage-' || usage, %s, 'ai_extra_usage', tokens, tokens, at from made
    returning identifier
    """


@dataclass(frozen=True)
class Provider:
    """The Stripe fake: `control` makes it fail, `books` holds its data."""

    counterpart: Counterpart
    payments: StripePayments
    control: httpx.AsyncClient
    sql: Sql

    async def fault(self, kind: str, operation: str = SEND, **more: object) -> None:
        answer = await self.control.post(
            "/faults", json={"operation": operation, "kind": kind, **more}
        )
        answer.raise_for_status()

    async def no_faults(self) -> None:
        (await self.control.delete("/faults")).raise_for_status()

    async def customer(self) -> str:
        return await self.payments.customer(uuid4(), f"{uuid4().hex}@example.com", "")

    async def customers(self, count: int) -> list[str]:
        return [await self.customer() for _ in range(count)]

    def books(self, statement: str, *args: object) -> list[tuple[Any, ...]]:
        path = Path(self.counterpart.variables["PAYMENTS_DATA_DIR"]) / "books.sqlite"
        with sqlite3.connect(path, timeout=10) as connection:
            found = connection.execute(statement, args).fetchall()
        connection.close()
        return found

    def forget(self) -> None:
        """A day passes for the provider: identifiers and idempotency keys are forgotten."""
        self.books("update meter_events set received = received - 90000")
        self.books("delete from answers")

    # The ledger's side

    def seed(self, customer: str, tokens: Sequence[int], *, age_seconds: float = 60) -> list[str]:
        """Identifiers of new rows."""
        rows = self.sql(_SEED, age_seconds, list(tokens), customer)
        return [str(identifier) for (identifier,) in rows]

    def seed_many(self, customers: Sequence[str], rows: int) -> None:
        for customer in customers:
            self.seed(customer, [random.randint(1, 5000) for _ in range(rows)])

    def ledger(self, customers: Sequence[str]) -> int:
        ((total,),) = self.sql(
            "select sum(u.quota_tokens)::bigint from usage_outbox o"
            " join usage_records u on u.id = o.usage_record_id where stripe_customer_id = any(%s)",
            list(customers),
        )
        return int(str(total))

    def states(self, customers: Sequence[str]) -> dict[str, int]:
        rows = self.sql(
            "select state, count(*) from usage_outbox where stripe_customer_id = any(%s) group by 1",
            list(customers),
        )
        return {str(state): int(str(count)) for state, count in rows}

    async def meter(self, customers: Sequence[str]) -> int:
        """What the provider has counted in all days that rows of tests can be of."""
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        start, end = midnight - timedelta(days=40), midnight + timedelta(days=2)
        return sum([await self.payments.reported_usage(each, start, end) for each in customers])

    # Time

    def hurry(self) -> None:
        """Rows that wait for their next try are due, and senders that held rows are gone."""
        self.sql("update private.metering set paused_until = now(), spent_until = now()")
        self.sql(
            "update usage_outbox set claimed_until = now() - interval '1 second'"
            " where claim is not null"
        )
        self.sql("update usage_outbox set next_attempt_at = now() where state = 'pending'")

    def age(self, identifier: str, column: str, hours: float) -> None:
        self.sql(
            f"update usage_outbox set {column} = now() - make_interval(secs => %s)"
            " where identifier = %s",
            hours * 3600,
            identifier,
        )

    async def drain(self, outboxes: Sequence[Outbox], customers: Sequence[str]) -> None:
        """Send, however often it fails, until nothing waits any more."""
        for _ in range(100):
            self.hurry_backoff()
            await asyncio.gather(*(outbox.deliver_due() for outbox in outboxes))
            if "pending" not in self.states(customers):
                return
        raise AssertionError(f"still waiting: {self.states(customers)}")

    def hurry_backoff(self) -> None:
        """As `hurry`, but senders keep the rows that they hold."""
        self.sql("update private.metering set paused_until = now()")
        self.sql(
            "update usage_outbox set next_attempt_at = now()"
            " where state = 'pending' and claim is null and next_attempt_at > now()"
        )


class Watched:
    """A sender's view of the provider, noting how many calls are in flight at once."""

    def __init__(self, real: Payments, flying: dict[str, int]) -> None:
        self._real = real
        self._flying = flying
        self.most_of_one = 0
        self.most = 0

    async def report_usage(self, event: MeterEvent) -> bool:
        self._flying[event.customer_id] = self._flying.get(event.customer_id, 0) + 1
        self.most_of_one = max(self.most_of_one, self._flying[event.customer_id])
        self.most = max(self.most, sum(self._flying.values()))
        try:
            return await self._real.report_usage(event)
        finally:
            self._flying[event.customer_id] -= 1


def sender(service: ServiceDatabase, payments: Any) -> Outbox:
    return Outbox(service, payments)


METER = {
    "display_name": "Tokens",
    "event_name": EXTRA_USAGE_METER,
    "default_aggregation[formula]": "sum",
    "customer_mapping[type]": "by_id",
    "customer_mapping[event_payload_key]": "stripe_customer_id",
    "value_settings[event_payload_key]": "value",
}


def make_meter(counterpart: Counterpart) -> None:
    httpx.post(
        f"{counterpart.url}/v1/billing/meters",
        data=METER,
        headers={"authorization": f"Bearer {KEY}"},
    ).raise_for_status()
