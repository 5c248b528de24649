"""The allowance on the real database; users are random ids, which is all that it knows of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from aisaas.adapters.redis_client import make_listening_redis, make_redis
from aisaas.adapters.redis_signals import RedisSignals
from aisaas.billing.ledger.models import Charge
from aisaas.billing.plans.models import Limits, RateLimits
from aisaas.billing.plans.periods import Period
from aisaas.billing.plans.terms import Plan
from aisaas.billing.reservations.models import ReservationRequest
from aisaas.billing.reservations.quota import Quota
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.language_models import Model
from aisaas.prices import Price
from devstack.stack import Stack

PLENTY = Decimal(1_000_000)
Sql = Callable[..., list[tuple[object, ...]]]


def model(weight: str = "1", usd: str = "0") -> Model:
    """A model that costs `usd` per million tokens, in either direction."""
    price = Price(Decimal(usd), Decimal(usd), Decimal(usd), "tests")
    return Model(
        id="tests",
        label="Tests",
        provider="demo",
        upstream="openai/tests",
        context_window=100_000,
        max_output=100_000,
        weight=Decimal(weight),
        plans=frozenset({"free"}),
        fallback=None,
        price=price,
    )


def claim(
    user_id: UUID,
    *,
    prompt: int = 100,
    max_tokens: int = 400,
    min_tokens: int = 16,
    limit: int = 1_000_000,
    overage: int = 0,
    period: Period | None = None,
    parallel: int | None = None,
    free: bool = True,
    of: Model | None = None,
    purpose: str = "reply",
    switches: frozenset[str] = frozenset(),
    models_revision: int = 0,
) -> ReservationRequest:
    return ReservationRequest(
        request_id=uuid4(),
        user_id=user_id,
        conversation_id=None,
        message_id=None,
        purpose="title" if purpose == "title" else "reply",
        plan="free" if free else "pro",
        models=(of or model(),),
        prompt_estimate=prompt,
        prompt_count=prompt,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        period=period,
        limits=Limits(limit, overage, capped=overage > 0),
        parallel=parallel,
        free_tier=free,
        switches=switches,
        models_revision=models_revision,
    )


def charge(
    of: ReservationRequest, tokens: int, *, prompt: int = 0, customer: str | None = None
) -> Charge:
    """What settling that claim would book. Extra usage costs a millionth of a dollar a token."""
    return Charge(
        request_id=of.request_id,
        user_id=of.user_id,
        conversation_id=None,
        message_id=None,
        purpose=of.purpose,
        plan=of.plan,
        model=of.models[0],
        weight=of.models[0].weight,
        prompt_tokens=prompt,
        cached_prompt_tokens=0,
        completion_tokens=tokens,
        counted_by="provider",
        outcome="done",
        metered_customer=customer,
        overage_usd_per_million=Decimal(1),
    )


@dataclass(frozen=True)
class Billing:
    """A way to reserve, with caps of one's own, and to look at what is stored."""

    user: UserDatabase
    service: ServiceDatabase
    sql: Sql

    def quota(self, *, free_cap: Decimal = PLENTY, total_cap: Decimal = PLENTY) -> Quota:
        free = Plan("free", "Free", RateLimits(10, 100), 10_000, 3)
        return Quota(
            self.service, self.user, {"free": free}, free_cap=free_cap, total_cap=total_cap
        )

    def held(self, user_id: UUID) -> tuple[int, int]:
        """(used, reserved) over all of a user's periods."""
        ((used, reserved),) = self.sql(
            "select coalesce(sum(used), 0)::int, coalesce(sum(reserved), 0)::int"
            " from quota_periods where user_id = %s",
            user_id,
        )
        return int(str(used)), int(str(reserved))

    def day(self, scope: str) -> tuple[Decimal, Decimal]:
        """(spent, reserved) USD of today."""
        rows = self.sql(
            "select spent_usd, reserved_usd from spend_days"
            " where scope = %s and day = (now() at time zone 'UTC')::date",
            scope,
        )
        spent, reserved = rows[0] if rows else (0, 0)
        return Decimal(str(spent)), Decimal(str(reserved))


@pytest.fixture
def sql(stack: Stack) -> Sql:
    """Runs a statement as the schema's owner."""

    def run(statement: str, *args: object) -> list[tuple[object, ...]]:
        with psycopg.connect(stack.env["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            cursor = connection.execute(statement, args)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

    return run


@pytest_asyncio.fixture(loop_scope="session")
async def billing(stack: Stack, sql: Sql) -> AsyncGenerator[Billing]:
    login = DatabasePool(stack.env["DATABASE_URL"])
    service_login = DatabasePool(stack.env["SERVICE_DATABASE_URL"])
    yield Billing(UserDatabase(login), ServiceDatabase(service_login), sql)
    await login.close()
    await service_login.close()


@pytest_asyncio.fixture(loop_scope="session")
async def signals(stack: Stack) -> AsyncGenerator[RedisSignals]:
    redis = make_redis(stack.env["REDIS_URL"])
    listening = make_listening_redis(stack.env["REDIS_URL"], block_seconds=1)
    yield RedisSignals(redis, listening, prefix=f"tests:{uuid4()}")
    await redis.aclose()
    await listening.aclose()


@pytest.fixture
def someone() -> UUID:
    return uuid4()
