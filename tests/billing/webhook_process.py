"""A process of its own that takes one delivery and is gone at the point that TEST_POINT names.

It reads the event and the subscription, as the provider has it, from its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from aisaas.adapters.redis_client import make_listening_redis, make_redis
from aisaas.adapters.redis_signals import RedisSignals
from aisaas.billing.notices import notices
from aisaas.billing.ports import PaidSubscription, PaymentEvent
from aisaas.billing.subscriptions import events as stripe_events
from aisaas.billing.subscriptions import store as subscription_store
from aisaas.db.engine import DatabasePool
from aisaas.db.service import ServiceDatabase
from tests.billing.provider import Provider
from tests.billing.webhooks import Shop

GONE = 9
# Whatever is named here has just been done when the process ends.
POINTS: dict[str, tuple[Any, str]] = {
    "event known": (subscription_store, "add_event"),
    "subscription locked": (subscription_store, "lock"),
    "provider asked": (Provider, "subscription"),
    "subscription written": (subscription_store, "put"),
    "plan written": (subscription_store, "write_entitlement"),
    "mail noted": (notices, "add_notice"),
    "outcome noted": (subscription_store, "close_event"),
}
COMMITTED = "committed"


def end_after(owner: Any, name: str) -> None:
    real: Callable[..., Awaitable[object]] = getattr(owner, name)

    async def last(*args: Any, **kwargs: Any) -> None:
        await real(*args, **kwargs)
        os._exit(GONE)

    setattr(owner, name, last)
    if owner is notices:
        stripe_events.add_notice = last  # pyright: ignore[reportAttributeAccessIssue]


async def gone(user_id: UUID) -> None:
    os._exit(GONE)


async def main(point: str) -> None:
    given = json.load(sys.stdin)
    for value in (given["subscription"], given["event"]):
        for name, text in value.items():
            if text and name.endswith(("_at", "_since", "_start", "_end")):
                value[name] = datetime.fromisoformat(text)
            elif text and name == "user_id":
                value[name] = UUID(text)
    service = ServiceDatabase(DatabasePool(os.environ["SERVICE_DATABASE_URL"]))
    url = os.environ["REDIS_URL"]
    signals = RedisSignals(
        make_redis(url), make_listening_redis(url, block_seconds=1), prefix="tests"
    )
    shop = Shop(
        service,
        lambda *_: [],
        signals,
        Provider(PaidSubscription(**given["subscription"])),
    )
    if point == COMMITTED:
        shop.subscriptions.tell = gone
    else:
        end_after(*POINTS[point])
    await shop.deliver(PaymentEvent(**given["event"]))


if __name__ == "__main__":
    asyncio.run(main(os.environ["TEST_POINT"]))
