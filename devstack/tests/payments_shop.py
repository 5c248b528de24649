"""A shop at the Stripe fake: what it sells, who buys, and time that passes at its will."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
from stripe import StripeClient

HOUR = 3600
DAY = 24 * HOUR
INCLUDED = 1_000_000


@dataclass
class Shop:
    """20 a month with a million tokens; 10 more for each further million. `dear` costs 50."""

    client: StripeClient
    control: httpx.AsyncClient
    event_name: str
    base: str
    usage: str
    dear: str
    dear_usage: str

    async def customer(self, card: str | None = "pm_card_visa") -> str:
        made = await self.client.v1.customers.create_async({"email": "ada@example.com"})
        if card:
            await self.pay_with(made.id, card)
        return made.id

    async def pay_with(self, customer: str, card: str) -> None:
        method = await self.client.v1.payment_methods.attach_async(card, {"customer": customer})
        await self.default(customer, method.id)

    async def default(self, customer: str, method: str) -> None:
        settings: Any = {"invoice_settings": {"default_payment_method": method}}
        await self.client.v1.customers.update_async(customer, settings)

    async def subscribe(self, customer: str, **more: Any) -> Any:
        items = [{"price": self.base}, {"price": self.usage}]
        params: Any = {"customer": customer, "items": items, **more}
        return await self.client.v1.subscriptions.create_async(params)

    async def subscription(self, given: str) -> Any:
        expand: Any = {"expand": ["latest_invoice"]}
        return await self.client.v1.subscriptions.retrieve_async(given, expand)

    async def invoices(self, customer: str) -> list[Any]:
        """Newest first."""
        return (await self.client.v1.invoices.list_async({"customer": customer, "limit": 100})).data

    async def use(self, customer: str, tokens: int, *, at: int | None = None) -> None:
        """At an instant of the machine's, by default now."""
        payload = {"stripe_customer_id": customer, "value": str(tokens)}
        at = int(time.time()) if at is None else at
        await self.client.v1.billing.meter_events.create_async(
            {"event_name": self.event_name, "payload": payload, "timestamp": at}
        )

    async def now(self) -> int:
        return (await self.control.get("/clock")).json()["now"]

    async def advance(self, seconds: int) -> int:
        answer = await self.control.post("/clock", json={"advance_seconds": seconds})
        assert answer.status_code == 200, answer.text
        return answer.json()["now"]

    async def advance_to(self, instant: int, *, and_then: int = 0) -> None:
        """To a moment after it, or before with a negative `and_then`."""
        await self.advance(max(instant + and_then - await self.now(), 0))

    async def events(self, about: str) -> list[str]:
        """The types of events about an object or a customer's objects, in order."""
        return [event["type"] for event in await self._events(about)]

    async def event(self, kind: str, about: str) -> dict[str, Any]:
        """The newest one's data."""
        return [e for e in await self._events(about) if e["type"] == kind][-1]["data"]

    async def _events(self, about: str) -> list[dict[str, Any]]:
        page = await self.client.v1.events.list_async({"limit": 100})
        found = [each.to_dict(for_json=True) async for each in page.auto_paging_iter()]
        return [
            event
            for event in reversed(found)
            if about in {event["data"]["object"].get(name) for name in ("id", "customer")}
        ]


async def open_shop(client: StripeClient, control: httpx.AsyncClient) -> Shop:
    event_name = f"tokens_{uuid4().hex[:8]}"
    meter = await client.v1.billing.meters.create_async(
        {
            "display_name": "Tokens",
            "event_name": event_name,
            "default_aggregation": {"formula": "sum"},
        }
    )
    prices: list[str] = []
    for name, amount, included in (("Pro", 2000, INCLUDED), ("Dear", 5000, 10 * INCLUDED)):
        product = await client.v1.products.create_async({"name": name, "unit_label": "token"})
        base = await client.v1.prices.create_async(
            {
                "currency": "usd",
                "unit_amount": amount,
                "recurring": {"interval": "month"},
                "product": product.id,
            }
        )
        usage = await client.v1.prices.create_async(
            {
                "currency": "usd",
                "billing_scheme": "tiered",
                "tiers_mode": "graduated",
                "tiers": [
                    {"up_to": included, "unit_amount_decimal": Decimal(0)},
                    {"up_to": "inf", "unit_amount_decimal": Decimal("0.001")},
                ],
                "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
                "product": product.id,
            }
        )
        prices += [base.id, usage.id]
    return Shop(client, control, event_name, *prices)


def period(subscription: Any) -> tuple[int, int]:
    item = subscription.items.data[0]
    return item.current_period_start, item.current_period_end


def amounts(invoice: Any) -> list[int]:
    return [line.amount for line in invoice.lines.data]


def in_order(wanted: Sequence[str], seen: Sequence[str]) -> bool:
    """Whether the wanted events came in this order, whatever came in between."""
    rest = iter(seen)
    return all(kind in rest for kind in wanted)
