"""Payments through stripe-python: Stripe itself, or another server that speaks its protocol.

Every call that makes something carries an idempotency key that follows from what is wanted, so
asking twice makes one. The SDK asks again by itself after 409, 5xx and lost connections, with the
same key; usage is the exception, because the outbox asks again by a plan of its own.

Outage: PaymentsError within CALL_SECONDS. Nobody but the caller waits: chat needs none of this.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from stripe import StripeObject

from aisaas.adapters.stripe_client import connect, read, read_all, read_page, translated
from aisaas.adapters.stripe_objects import (
    BASE_PRICE,
    USAGE_PRICE,
    USER_ID,
    Identified,
    MaybeDeleted,
    MeterSummary,
    Page,
    PortalConfiguration,
    StripeEvent,
    StripeInvoice,
    StripeMeter,
    StripePreview,
    StripePrice,
    StripeProduct,
    StripeSubscription,
    TakenEvent,
)
from aisaas.adapters.stripe_webhooks import (
    fetch_meter_problem,
    meter_key,
    read_event,
    read_meter_notice,
    verify,
)
from aisaas.errors import PaymentsRefused
from aisaas.ports import (
    Invoice,
    InvoicePreview,
    MeterEvent,
    MeterProblem,
    PaidSubscription,
    PaymentEvent,
)

if TYPE_CHECKING:
    from stripe.params import CustomerCreateParams, SubscriptionUpdateParams
    from stripe.params.billing_portal import SessionCreateParams as PortalSessionCreateParams
    from stripe.params.checkout import SessionCreateParams

CACHE_SECONDS = 300.0
PAGE = 100
METER_EVENT = "ai_tokens_used"

MISSING = "resource_missing"
NO_NEXT_INVOICE = "invoice_upcoming_none"
DUPLICATE = "already exists with identifier"


@dataclass(frozen=True, slots=True)
class _Prices:
    base: str
    usage: str
    read_at: float


class StripePayments:
    """Implements `ports.Payments`. An instance belongs to one event loop."""

    def __init__(
        self,
        secret_key: str,
        *,
        api_base: str | None = None,
        webhook_secrets: Sequence[str] = (),
        meter_webhook_secrets: Sequence[str] = (),
    ) -> None:
        self._client, self._http = connect(secret_key, api_base)
        self._webhook_secrets = tuple(webhook_secrets)
        self._meter_webhook_secrets = tuple(meter_webhook_secrets)
        self._meter: str | None = None
        self._configuration: str | None = None
        self._prices: dict[str, _Prices] = {}
        self._products: dict[str, str | None] = {}

    async def close(self) -> None:
        await self._http.close_async()

    async def reach(self) -> None:
        """Returns when the provider answers and takes our key. Raises PaymentsError."""
        async with translated():
            await self._client.v1.prices.list_async({"limit": 1})

    # Customers and their pages

    async def customer(self, user_id: UUID, email: str, name: str) -> str:
        # A key may only be used again for the very same request, so the key covers all of it.
        wanted = hashlib.sha256(json.dumps([email, name]).encode()).hexdigest()[:16]
        params: CustomerCreateParams = {"email": email, "metadata": {USER_ID: str(user_id)}}
        if name:
            params["name"] = name
        key = f"customer-{user_id}-{wanted}"
        async with translated():
            while True:
                answer = await self._client.v1.customers.create_async(
                    params, {"idempotency_key": key}
                )
                made = read(answer, Identified).id
                present = read(await self._client.v1.customers.retrieve_async(made), MaybeDeleted)
                if not present.deleted:
                    return made
                # For a day, the key gives what it once made, also what was deleted since.
                key = f"{key}-{made}"

    async def checkout(
        self,
        user_id: UUID,
        customer_id: str,
        plan: str,
        *,
        trial_days: int,
        attempt: str,
        success_url: str,
        cancel_url: str,
    ) -> str:
        prices = await self._prices_of(plan)
        ours = {USER_ID: str(user_id)}
        wanted: SessionCreateParams = {
            "mode": "subscription",
            "customer": customer_id,
            # Tax needs an address, which Checkout asks for and keeps.
            "customer_update": {"address": "auto"},
            "client_reference_id": str(user_id),
            # A metered price takes no quantity: the meter has it.
            "line_items": [{"price": prices.base, "quantity": 1}, {"price": prices.usage}],
            "metadata": ours,
            "subscription_data": {"metadata": ours},
            "automatic_tax": {"enabled": True},
            "allow_promotion_codes": True,
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        if trial_days > 0:
            wanted["subscription_data"] = {"metadata": ours, "trial_period_days": trial_days}
        # As above: a price that changed since makes another page.
        params = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]
        async with translated():
            session = await self._client.v1.checkout.sessions.create_async(
                wanted, {"idempotency_key": f"checkout-{attempt}-{params}"}
            )
            return _address(session)

    async def switch(self, subscription_id: str, plan: str, *, at_once: bool) -> None:
        prices = await self._prices_of(plan)
        async with translated():
            found = await self._client.v1.subscriptions.retrieve_async(subscription_id)
            items = read(found, StripeSubscription).items.data
            wanted: SubscriptionUpdateParams = {
                "items": [
                    {"id": item.id, "price": prices.base if item.price.licensed else prices.usage}
                    for item in items
                ],
                "proration_behavior": "always_invoice" if at_once else "create_prorations",
            }
            if at_once:
                wanted["payment_behavior"] = "error_if_incomplete"
            if all(item.price.id in {prices.base, prices.usage} for item in items):
                return
            await self._client.v1.subscriptions.update_async(subscription_id, wanted)

    async def portal(self, customer_id: str, *, return_url: str) -> str:
        wanted: PortalSessionCreateParams = {"customer": customer_id, "return_url": return_url}
        configuration = await self._portal_configuration()
        if configuration is not None:
            wanted["configuration"] = configuration
        async with translated():
            session = await self._client.v1.billing_portal.sessions.create_async(wanted)
            return _address(session)

    # Subscriptions and invoices

    async def subscription(self, subscription_id: str) -> PaidSubscription | None:
        try:
            async with translated():
                found = await self._client.v1.subscriptions.retrieve_async(
                    subscription_id, {"expand": ["latest_invoice"]}
                )
                return await self._paid(read(found, StripeSubscription))
        except PaymentsRefused as refused:
            if refused.code == MISSING:
                return None
            raise

    async def subscriptions(self, customer_id: str) -> Sequence[PaidSubscription]:
        try:
            async with translated():
                page = await self._client.v1.subscriptions.list_async(
                    {
                        "customer": customer_id,
                        "status": "all",
                        "limit": PAGE,
                        "expand": ["data.latest_invoice"],
                    }
                )
                found = await read_all(page, StripeSubscription)
                return [await self._paid(each) for each in found]
        except PaymentsRefused as refused:
            if refused.code == MISSING:
                return []
            raise

    async def invoices(self, customer_id: str, limit: int) -> Sequence[Invoice]:
        async with translated():
            page = await self._client.v1.invoices.list_async(
                {"customer": customer_id, "limit": PAGE}
            )
            found = [each.invoice() for each in read_page(page, StripeInvoice)]
        return [invoice for invoice in found if invoice.status != "draft"][:limit]

    async def preview(self, subscription_id: str) -> InvoicePreview | None:
        try:
            async with translated():
                found = await self._client.v1.invoices.create_preview_async(
                    {"subscription": subscription_id}
                )
                return read(found, StripePreview).preview()
        except PaymentsRefused as refused:
            if refused.code in {NO_NEXT_INVOICE, MISSING}:
                return None
            raise

    # Usage

    async def report_usage(self, event: MeterEvent) -> bool:
        try:
            async with translated():
                made = await self._client.v1.billing.meter_events.create_async(
                    {
                        "event_name": METER_EVENT,
                        "identifier": event.identifier,
                        "timestamp": _seconds(event.at),
                        "payload": {
                            "stripe_customer_id": event.customer_id,
                            "value": str(event.tokens),
                        },
                    },
                    {"idempotency_key": meter_key(event), "max_network_retries": 0},
                )
                read(made, TakenEvent)
        except PaymentsRefused as refused:
            if DUPLICATE in f"{refused.code} {refused.message}":
                return False
            raise
        return True

    async def cancel_usage(self, identifier: str) -> None:
        async with translated():
            await self._client.v1.billing.meter_event_adjustments.create_async(
                {
                    "event_name": METER_EVENT,
                    "type": "cancel",
                    "cancel": {"identifier": identifier},
                },
                # Asked again after silence, it must not be refused as taken back before.
                {"idempotency_key": f"cancel-{identifier}"},
            )

    async def reported_usage(self, customer_id: str, start: datetime, end: datetime) -> int:
        meter = await self._meter_id()
        async with translated():
            page = await self._client.v1.billing.meters.event_summaries.list_async(
                meter,
                {
                    "customer": customer_id,
                    "start_time": _seconds(start),
                    "end_time": _seconds(end),
                    "limit": PAGE,
                },
            )
            sums = [
                read(each, MeterSummary).aggregated_value async for each in page.auto_paging_iter()
            ]
        return round(sum(sums))

    # Webhooks

    def event(self, body: bytes, signature: str) -> PaymentEvent:
        verify(body, signature, self._webhook_secrets)
        return read_event(body)

    def meter_notice(self, body: bytes, signature: str) -> str | None:
        verify(body, signature, self._meter_webhook_secrets)
        return read_meter_notice(self._client, body)

    async def meter_problem(self, event_id: str) -> MeterProblem:
        return await fetch_meter_problem(self._client, event_id)

    async def recall(self, event_id: str) -> PaymentEvent:
        async with translated():
            found = await self._client.v1.events.retrieve_async(event_id)
            return read(found, StripeEvent).payment_event()

    # What is looked up once in a while

    async def _prices_of(self, plan: str) -> _Prices:
        known = self._prices.get(plan)
        if known and time.monotonic() - known.read_at < CACHE_SECONDS:
            return known
        keys = [plan + BASE_PRICE, plan + USAGE_PRICE]
        async with translated():
            page = await self._client.v1.prices.list_async({"lookup_keys": keys, "active": True})
            prices = read_page(page, StripePrice)
        found = {price.lookup_key: price.id for price in prices}
        if missing := [key for key in keys if key not in found]:
            raise PaymentsRefused(
                "price_missing", f"no active price has the lookup key {', '.join(missing)}"
            )
        self._prices[plan] = _Prices(found[keys[0]], found[keys[1]], time.monotonic())
        return self._prices[plan]

    async def _portal_configuration(self) -> str | None:
        """Ours; None before it was made, and then the account's default counts."""
        if self._configuration is None:
            async with translated():
                page = await self._client.v1.billing_portal.configurations.list_async(
                    {"active": True, "limit": PAGE}
                )
                found = await read_all(page, PortalConfiguration)
            self._configuration = next((each.id for each in found if each.ours), None)
        return self._configuration

    async def _meter_id(self) -> str:
        if self._meter is None:
            async with translated():
                page = await self._client.v1.billing.meters.list_async(
                    {"status": "active", "limit": PAGE}
                )
                meters = await read_all(page, StripeMeter)
            self._meter = next((m.id for m in meters if m.event_name == METER_EVENT), None)
        if self._meter is None:
            raise PaymentsRefused("meter_missing", f"no active meter has the event {METER_EVENT}")
        return self._meter

    async def _paid(self, subscription: StripeSubscription) -> PaidSubscription:
        base = subscription.base
        return subscription.paid(await self._plan_of(base.price) if base else None)

    async def _plan_of(self, price: StripePrice) -> str | None:
        """By the price's own word, then its product's, then by how its lookup key begins."""
        if price.plan:
            return price.plan
        if price.product is None:
            return price.plan_by_key
        if price.product not in self._products:
            product = read(
                await self._client.v1.products.retrieve_async(price.product), StripeProduct
            )
            self._products[price.product] = product.metadata.plan if product.metadata else None
        return self._products[price.product] or price.plan_by_key


def _address(session: StripeObject) -> str:
    url = read(session, Page).url
    if url is None:
        raise PaymentsRefused("page_closed", "there is no page any more")
    return url


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
