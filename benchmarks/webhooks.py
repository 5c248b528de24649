"""How fast webhooks are accepted over HTTP, with 30 % of them delivered twice, and whether each
took effect exactly once.

One process of the app, with the Stripe fake behind it: each event about a subscription costs a
query there, under the subscription's lock. Events are signed here and sent by several deliverers at
once, in no order. Two thirds are about subscriptions, a third are refunds, each recorded once.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psycopg
from stripe import StripeClient, WebhookSignature

from aisaas.adapters.stripe_catalogue import sync
from aisaas.adapters.stripe_client import connect
from aisaas.settings import Settings, load
from benchmarks.instance import Instance, instance

SUBSCRIBERS = 50
DELIVERERS = 16
TWICE = 0.3
REFUND_EVERY = 3
ENDPOINT = "/api/webhooks/stripe"
API_VERSION = "2026-10-28.endive"
SENT_AGAIN = 100
PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Subscriber:
    user_id: UUID
    customer: str
    subscription: str


def measure(events: int) -> dict[str, float]:
    """Deliveries a second that were answered with 200, and milliseconds each took.

    `lost` are events that are not in the database afterwards, or subscribers without their plan;
    `doubled` are refunds that were noted more than once.
    """
    with tempfile.TemporaryDirectory() as name, instance(Path(name), workers=1) as running:
        return asyncio.run(_measured(running, events))


async def _measured(running: Instance, events: int) -> dict[str, float]:
    settings = load(**{name.lower(): value for name, value in running.env.items()})
    await sync(settings)
    subscribers = await _subscribers(running, settings)
    wanted = [_event(subscribers[n % len(subscribers)], n) for n in range(events)]
    random.shuffle(wanted)
    repeated = random.sample(wanted, round(events * TWICE))
    deliveries = [*wanted, *repeated]
    random.shuffle(deliveries)
    # Refunds for customers not known here yet would change nothing.
    known = [_event(each, 1) for each in subscribers]
    secret = settings.webhook_secrets[0]
    async with httpx.AsyncClient(base_url=running.addresses[0], timeout=30) as http:
        await _deliver(http, secret, known)
        began = time.perf_counter()
        took = await _deliver(http, secret, deliveries)
        seconds = time.perf_counter() - began
    lost, doubled = await _checked(running, subscribers, wanted)
    return {
        "per_second": round(len(deliveries) / seconds, 1),
        "p99_ms": round(sorted(took)[int(len(took) * 0.99)], 1),
        "lost": lost,
        "doubled": doubled,
    }


async def _subscribers(running: Instance, settings: Settings) -> Sequence[Subscriber]:
    assert settings.stripe_secret_key is not None
    client, http = connect(settings.stripe_secret_key.get_secret_value(), settings.stripe_api_base)
    try:
        listed = await client.v1.prices.list_async({"lookup_keys": ["pro_base", "extra_usage"]})
        prices = {str(price.lookup_key): price.id for price in listed.data}
        return [await _subscriber(running, client, prices) for _ in range(SUBSCRIBERS)]
    finally:
        await http.close_async()


async def _subscriber(
    running: Instance, client: StripeClient, prices: dict[str, str]
) -> Subscriber:
    user_id = uuid4()
    url = running.stack.env["MIGRATION_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url) as connection:
        # No sign-in is needed; a trigger creates the profile.
        await connection.execute(
            "insert into auth.users (id, email) values (%s, %s)",
            [user_id, f"{user_id}@example.com"],
        )
    ours = {"user_id": str(user_id)}
    customer = await client.v1.customers.create_async({"metadata": ours})
    card = await client.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer.id})
    subscription = await client.v1.subscriptions.create_async(
        {
            "customer": customer.id,
            "metadata": ours,
            "default_payment_method": card.id,
            "items": [{"price": prices["pro_base"]}, {"price": prices["extra_usage"]}],
        }
    )
    return Subscriber(user_id, customer.id, subscription.id)


def _event(about: Subscriber, number: int) -> dict[str, object]:
    if number % REFUND_EVERY == 0:
        kind = "charge.refunded"
        shown = {
            "id": f"ch_bench_{number}",
            "object": "charge",
            "customer": about.customer,
            "amount_refunded": 100,
            "currency": "usd",
        }
    else:
        kind = "customer.subscription.updated"
        shown = {
            "id": about.subscription,
            "object": "subscription",
            "customer": about.customer,
            "metadata": {"user_id": str(about.user_id)},
        }
    return {
        "id": f"evt_bench_{uuid4().hex}",
        "object": "event",
        "api_version": API_VERSION,
        "created": int(time.time()),
        "livemode": False,
        "type": kind,
        "data": {"object": shown},
    }


async def _deliver(
    http: httpx.AsyncClient, secret: str, events: Sequence[dict[str, object]]
) -> list[float]:
    """Milliseconds of each delivery, until it was taken."""
    waiting, took = list(events), list[float]()

    async def deliverer() -> None:
        while waiting:
            body = json.dumps(waiting.pop())
            began = time.perf_counter()
            # As Stripe does, only sooner: until it is taken.
            for _ in range(SENT_AGAIN):
                header = WebhookSignature.generate_signature_header(body, secret)
                answer = await http.post(
                    ENDPOINT, content=body, headers={"stripe-signature": header}
                )
                if answer.status_code == httpx.codes.OK:
                    break
                await asyncio.sleep(PAUSE_SECONDS)
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(deliverer() for _ in range(DELIVERERS)))
    return took


async def _checked(
    running: Instance, subscribers: Sequence[Subscriber], wanted: Sequence[dict[str, object]]
) -> tuple[int, int]:
    url = running.stack.env["MIGRATION_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def one(query: str, *values: object) -> int:
            row = await (await connection.execute(query, values)).fetchone()  # pyright: ignore[reportArgumentType, reportCallIssue]
            assert row is not None
            return int(row[0])

        known = await one(
            "select count(*) from processed_webhook_events where id = any(%s)",
            [event["id"] for event in wanted],
        )
        subscribed = await one(
            "select count(*) from profiles where plan = 'pro' and id = any(%s)",
            [each.user_id for each in subscribers],
        )
        noted = await one("select count(*) from billing_notices where kind = 'refunded'")
    refunds = sum(event["type"] == "charge.refunded" for event in wanted)
    lost = len(wanted) - known + len(subscribers) - subscribed + max(refunds - noted, 0)
    return lost, max(noted - refunds, 0)
