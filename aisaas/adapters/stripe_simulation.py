"""A customer on a test clock of Stripe's: months of a subscription in minutes, in test mode only.

Invariant: a clock is deleted however its use ends, and its customer and their subscriptions with it.
What a killed process leaves behind begins with `NAME` and is deleted by the next one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from stripe import StripeClient

from aisaas.adapters.stripe_client import read, read_all, read_page, translated
from aisaas.adapters.stripe_objects import (
    BASE_PRICE,
    EXTRA_USAGE_PRICE,
    Id,
    Identified,
    InvoicePayment,
    StripePrice,
    StripeSubscription,
    at,
)
from aisaas.adapters.stripe_payments import BILLING_MODE, MISSING
from aisaas.errors import PaymentsError, PaymentsRefused

if TYPE_CHECKING:
    from stripe.params import SubscriptionCreateParams

log = logging.getLogger(__name__)

NAME = "aisaas verify"
MARK = {"created_by": NAME}
# Usage is taken for 35 days, and it isn't documented whether they count from the clock's time or from
# the present. A clock that begins this long ago has its first period within both.
BACK_SECONDS = 34 * 86_400
GOOD_CARD, FAILING_CARD = "pm_card_visa", "pm_card_chargeCustomerFail"
POLL_SECONDS = 0.5
READY_SECONDS = 300.0
# Younger ones may be another's that still runs.
LEFTOVER_SECONDS = 3600
PAGE = 100


class _Clock(BaseModel):
    id: str
    status: str
    frozen_time: int
    created: int
    name: str | None = None


class _PriceDetails(BaseModel):
    price: Id | None = None


class _Pricing(BaseModel):
    price_details: _PriceDetails | None = None


class _ItemDetails(BaseModel):
    proration: bool = False


class _LineParent(BaseModel):
    subscription_item_details: _ItemDetails | None = None
    invoice_item_details: _ItemDetails | None = None


class InvoicedLine(BaseModel):
    """A line, in cents before tax."""

    amount: int
    pricing: _Pricing | None = None
    parent: _LineParent | None = None

    @property
    def price_id(self) -> str | None:
        details = self.pricing.price_details if self.pricing else None
        return details.price if details else None

    @property
    def proration(self) -> bool:
        parent = self.parent or _LineParent()
        details = parent.subscription_item_details or parent.invoice_item_details
        return details is not None and details.proration


class _Lines(BaseModel):
    data: list[InvoicedLine]


class Invoiced(BaseModel):
    id: str
    status: str | None = None
    created: int
    lines: _Lines = Field(default_factory=lambda: _Lines(data=[]))


class _Charge(BaseModel):
    id: str
    amount_refunded: int
    payment_intent: Id | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a plan, by their ids."""

    base: str
    extra: str


@dataclass
class Simulation:
    """One customer, and the time that is theirs."""

    client: StripeClient
    clock_id: str
    customer_id: str
    now: int

    @property
    def time(self) -> datetime:
        return at(self.now)

    async def advance(self, to: int) -> None:
        """Until all that happens until then has happened. Raises PaymentsError."""
        async with translated():
            await self.client.v1.test_helpers.test_clocks.advance_async(
                self.clock_id, {"frozen_time": to}
            )
        await _until_ready(self.client, self.clock_id)
        self.now = to

    async def prices(self, plan: str) -> Prices:
        keys = [plan + BASE_PRICE, EXTRA_USAGE_PRICE]
        async with translated():
            page = await self.client.v1.prices.list_async({"lookup_keys": keys, "active": True})
            found = {price.lookup_key: price.id for price in read_page(page, StripePrice)}
        if missing := [key for key in keys if key not in found]:
            raise PaymentsRefused("price_missing", f"No price has the key {', '.join(missing)}.")
        return Prices(found[keys[0]], found[keys[1]])

    async def subscribe(self, plan: str, *, trial_days: int = 0) -> StripeSubscription:
        """As a completed page of Checkout does."""
        prices = await self.prices(plan)
        wanted: SubscriptionCreateParams = {
            "customer": self.customer_id,
            "items": [{"price": prices.base, "quantity": 1}, {"price": prices.extra}],
            "billing_mode": {"type": BILLING_MODE},
            "automatic_tax": {"enabled": True},
            "payment_behavior": "error_if_incomplete",
            "metadata": MARK,
        }
        if trial_days:
            wanted["trial_period_days"] = trial_days
        async with translated():
            made = await self.client.v1.subscriptions.create_async(wanted)
            return read(made, StripeSubscription)

    async def subscription(self, subscription_id: str) -> StripeSubscription:
        async with translated():
            found = await self.client.v1.subscriptions.retrieve_async(subscription_id)
            return read(found, StripeSubscription)

    async def end_with_period(self, subscription_id: str, *, ends: bool) -> None:
        """As canceling and resuming in the portal do."""
        async with translated():
            await self.client.v1.subscriptions.update_async(
                subscription_id, {"cancel_at_period_end": ends}
            )

    async def pay_with(self, card: str) -> None:
        async with translated():
            method = await self.client.v1.payment_methods.attach_async(
                card, {"customer": self.customer_id}
            )
            await self.client.v1.customers.update_async(
                self.customer_id, {"invoice_settings": {"default_payment_method": method.id}}
            )

    async def pay(self, invoice_id: str) -> None:
        async with translated():
            await self.client.v1.invoices.pay_async(invoice_id)

    async def refund(self, invoice_id: str) -> str | None:
        """All that was paid for an invoice; the charge that it was paid by."""
        async with translated():
            page = await self.client.v1.invoice_payments.list_async({"invoice": invoice_id})
            paid = [each for each in read_page(page, InvoicePayment) if each.status == "paid"]
            intents = [each.payment.payment_intent for each in paid if each.payment.payment_intent]
            for intent in intents:
                await self.client.v1.refunds.create_async({"payment_intent": intent})
        charges = await self._charges()
        return next((each.id for each in charges if each.payment_intent in intents), None)

    async def refunded(self) -> int:
        """Cents that went back to the customer."""
        return sum([each.amount_refunded for each in await self._charges()])

    async def invoices(self) -> Sequence[Invoiced]:
        """The oldest first."""
        async with translated():
            page = await self.client.v1.invoices.list_async(
                {"customer": self.customer_id, "limit": PAGE}
            )
            found = await read_all(page, Invoiced)
        return sorted(found, key=lambda invoice: invoice.created)

    async def _charges(self) -> Sequence[_Charge]:
        async with translated():
            page = await self.client.v1.charges.list_async(
                {"customer": self.customer_id, "limit": PAGE}
            )
            return await read_all(page, _Charge)


@asynccontextmanager
async def simulated(client: StripeClient, title: str) -> AsyncGenerator[Simulation]:
    """A customer with a card that works. Their clock is deleted in any case.

    Raises:
        PaymentsError, PaymentsRefused: also where the clock couldn't be deleted.
    """
    start, name = int(time.time()) - BACK_SECONDS, f"{NAME}: {title}"
    # Shielded: a clock that is being made while this is canceled is deleted too.
    making = asyncio.create_task(_make_clock(client, start, name))
    try:
        clock_id = await asyncio.shield(making)
        customer_id = await _make_customer(client, clock_id, name)
        simulation = Simulation(client, clock_id, customer_id, start)
        await simulation.pay_with(GOOD_CARD)
        yield simulation
    finally:
        await asyncio.wait([making])
        if making.exception() is None:
            await _delete(client, making.result())


async def delete_leftovers(client: StripeClient) -> int:
    """Clocks of runs that were killed; how many there were."""
    before = time.time() - LEFTOVER_SECONDS
    async with translated():
        page = await client.v1.test_helpers.test_clocks.list_async({"limit": PAGE})
        found = await read_all(page, _Clock)
    left = [each for each in found if (each.name or "").startswith(NAME) and each.created < before]
    for each in left:
        await _delete(client, each.id)
    return len(left)


async def _make_clock(client: StripeClient, frozen_time: int, name: str) -> str:
    async with translated():
        made = await client.v1.test_helpers.test_clocks.create_async(
            {"frozen_time": frozen_time, "name": name}
        )
        return read(made, Identified).id


async def _make_customer(client: StripeClient, clock_id: str, name: str) -> str:
    async with translated():
        made = await client.v1.customers.create_async(
            {
                "name": name,
                "email": "aisaas-verify@example.com",
                # An address for which tax can be calculated.
                "address": {
                    "line1": "354 Oyster Point Blvd",
                    "city": "South San Francisco",
                    "state": "CA",
                    "postal_code": "94080",
                    "country": "US",
                },
                "test_clock": clock_id,
                "metadata": MARK,
            }
        )
        return read(made, Identified).id


async def _delete(client: StripeClient, clock_id: str) -> None:
    try:
        await _delete_once(client, clock_id)
    except (PaymentsError, PaymentsRefused) as error:
        # It may still be advancing, which nothing interrupts.
        log.warning("test clock %s is deleted later: %s", clock_id, error)
        await _until_ready(client, clock_id)
        await _delete_once(client, clock_id)


async def _delete_once(client: StripeClient, clock_id: str) -> None:
    try:
        async with translated():
            await client.v1.test_helpers.test_clocks.delete_async(clock_id)
    except PaymentsRefused as refused:
        if refused.code != MISSING:
            raise


async def _until_ready(client: StripeClient, clock_id: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        async with translated():
            found = await client.v1.test_helpers.test_clocks.retrieve_async(clock_id)
            status = read(found, _Clock).status
        if status == "ready":
            return
        if status != "advancing":
            raise PaymentsRefused("test_clock", f"The test clock {clock_id} is {status}.")
        await asyncio.sleep(POLL_SECONDS)
    raise PaymentsError("timeout")
