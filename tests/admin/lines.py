"""Lines of the ledger at any time, for tests: their days are nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

from tests.services import Database

# Long ago, and a stretch for each test.
_STRETCHES = count()
STRETCH_DAYS = 192
BEGIN = date(2000, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    user_id: UUID
    at: datetime
    model: str = "m-large"
    provider: str = "acme"
    plan: str = "free"
    purpose: str = "reply"
    prompt: int = 3
    cached: int = 1
    completion: int = 4
    cost: Decimal = Decimal("0.000153")
    overage: Decimal = Decimal(0)
    outcome: str = "done"


def own_days() -> date:
    """The first of STRETCH_DAYS days without any use."""
    return BEGIN + timedelta(days=STRETCH_DAYS * next(_STRETCHES) % 9000)


def append(database: Database, lines: Sequence[Line]) -> None:
    """In one statement."""
    for_each = [
        [getattr(line, name) for line in lines]
        for name in ("user_id", "at", "model", "provider", "plan", "purpose", "prompt", "cached")
    ]
    more = [[getattr(line, name) for line in lines] for name in ("completion", "cost", "overage")]
    database(
        """
        insert into usage_records (reservation_id, user_id, created_at, model, provider, plan,
          purpose, prompt_tokens, cached_prompt_tokens, completion_tokens, cost_usd, overage_usd,
          outcome, quota_tokens, counted_by, weight, period_key, input_usd_per_million,
          output_usd_per_million, price_version)
        select gen_random_uuid(), l.*, l.prompt + l.completion, 'provider', 1, 'tests', 1, 1, 'tests'
        from unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::int[], %s::int[], %s::int[], %s::numeric[], %s::numeric[], %s::text[])
          as l (user_id, at, model, provider, plan, purpose, prompt, cached, completion, cost,
            overage, outcome)
        """,
        *for_each,
        *more,
        [line.outcome for line in lines],
    )
