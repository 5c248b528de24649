"""A process that dies in the middle of a delivery loses nothing and does nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

import pytest

from aisaas.adapters.redis_signals import RedisSignals
from aisaas.billing.ports import PaidSubscription, PaymentEvent
from devstack.stack import Stack
from tests.billing.conftest import Billing, Sql
from tests.billing.provider import DAY, event, this_second
from tests.billing.webhook_process import COMMITTED, GONE, POINTS
from tests.billing.webhooks import Shop


@pytest.fixture
def shop(billing: Billing, sql: Sql, signals: RedisSignals) -> Shop:
    return Shop(billing.service, sql, signals)


async def _dies(stack: Stack, point: str, delivered: PaymentEvent, sold: PaidSubscription) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.billing.webhook_process",
        env=os.environ | stack.env | {"TEST_POINT": point},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said = json.dumps({"event": asdict(delivered), "subscription": asdict(sold)}, default=_json)
    _, errors = await process.communicate(said.encode())
    assert process.returncode == GONE, errors.decode()


def _json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def test_crash_at_any_point_and_the_next_delivery_leave_it_done_once(
    shop: Shop, stack: Stack
) -> None:
    since = this_second() - DAY
    deliveries: dict[str, tuple[UUID, PaidSubscription, PaymentEvent]] = {}
    for point in (*POINTS, COMMITTED):
        user_id, sold = shop.subscriber(status="past_due", unpaid_since=since)
        payload = {"id": f"in_{sold.id}", "attempt_count": 1, "amount_due": 2000}
        payload |= {"currency": "usd"}
        delivered = event("invoice.payment_failed", sold, payload=payload)
        deliveries[point] = user_id, sold, delivered
    await asyncio.gather(
        *(
            _dies(stack, point, delivered, sold)
            for point, (_, sold, delivered) in deliveries.items()
        )
    )
    for point, (user_id, sold, delivered) in deliveries.items():
        committed = point == COMMITTED
        assert shop.outcome(delivered) == ("done" if committed else None), point
        assert (shop.stored(user_id) == {}) is not committed, point
        assert len(shop.notices(user_id)) == committed, point
        await shop.deliver(delivered)
        assert shop.plan(user_id) == ("pro", "past_due"), point
        assert shop.stored(user_id) == {sold.id: "past_due"}, point
        assert len(shop.notices(user_id)) == 1, point
        assert shop.outcome(delivered) == "done", point
