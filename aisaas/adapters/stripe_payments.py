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
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import stripe
from pydantic import BaseModel
from stripe import StripeObject, WebhookSignature

from aisaas.adapters.stripe_client import connect, translated
from aisaas.adapters.stripe_objects import (
    BASE_PRICE,
    USAGE_PRICE,
    USER_ID,
    MeterSummary,
    StripeEvent,
    StripeInvoice,
    StripeMeter,
    StripeMeterProblem,
    StripePreview,
    StripePrice,
    StripeProduct,
    StripeSubscription,
)
from aisaas.errors import PaymentsRefused, WebhookInvalid
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
    from stripe.params.checkout import SessionCreateParams

SIGNATURE_SECONDS = 300
CACHE_SECONDS = 300.0
PAGE = 100
METER_EVENT = "ai_tokens_used"
METER_PROBLEM = "v1.billing.meter.error_report_triggered"

MISSING = "resource_missing"
NO_NEXT_INVOICE = "invoice_upcoming_none"
DUPLICATE = "already exists with identifier"

Shape = TypeVar("Shape", bound=BaseModel)


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
        self._prices: dict[str, _Prices] = {}
        self._products: dict[str, str | None] = {}

    async def close(self) -> None:
        await self._http.close_async()

    # Customers and their pages

    async def customer(self, user_id: UUID, email: str, name: str) -> str:
        # A key may only be used again for the very same request, so the key covers all of it.
        wanted = hashlib.sha256(json.dumps([email, name]).encode()).hexdigest()[:16]
        params: CustomerCreateParams = {"email": email, "metadata": {USER_ID: str(user_id)}}
        if name:
            params["name"] = name
        async with translated():
            made = await self._client.v1.customers.create_async(
                params,
                {"idempotency_key": f"customer-{user_id}-{wanted}"},
            )
            return made.id

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
        if session.url is None:
            raise PaymentsRefused("checkout_closed", "this Checkout session has no page any more")
        return session.url

    async def switch(self, subscription_id: str, plan: str, *, at_once: bool) -> None:
        prices = await self._prices_of(plan)
        async with translated():
            found = await self._client.v1.subscriptions.retrieve_async(subscription_id)
            items = _read(found, StripeSubscription).items.data
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
        async with translated():
            session = await self._client.v1.billing_portal.sessions.create_async(
                {"customer": customer_id, "return_url": return_url}
            )
            return session.url

    # Subscriptions and invoices

    async def subscription(self, subscription_id: str) -> PaidSubscription | None:
        try:
            async with translated():
                found = await self._client.v1.subscriptions.retrieve_async(
                    subscription_id, {"expand": ["latest_invoice"]}
                )
                return await self._paid(_read(found, StripeSubscription))
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
                return [
                    await self._paid(_read(each, StripeSubscription))
                    async for each in page.auto_paging_iter()
                ]
        except PaymentsRefused as refused:
            if refused.code == MISSING:
                return []
            raise

    async def invoices(self, customer_id: str, limit: int) -> Sequence[Invoice]:
        async with translated():
            page = await self._client.v1.invoices.list_async(
                {"customer": customer_id, "limit": PAGE}
            )
            found = [_read(each, StripeInvoice).invoice() for each in page.data]
        return [invoice for invoice in found if invoice.status != "draft"][:limit]

    async def preview(self, subscription_id: str) -> InvoicePreview | None:
        try:
            async with translated():
                found = await self._client.v1.invoices.create_preview_async(
                    {"subscription": subscription_id}
                )
                return _read(found, StripePreview).preview()
        except PaymentsRefused as refused:
            if refused.code in {NO_NEXT_INVOICE, MISSING}:
                return None
            raise

    # Usage

    async def report_usage(self, event: MeterEvent) -> bool:
        try:
            async with translated():
                await self._client.v1.billing.meter_events.create_async(
                    {
                        "event_name": METER_EVENT,
                        "identifier": event.identifier,
                        "timestamp": _seconds(event.at),
                        "payload": {
                            "stripe_customer_id": event.customer_id,
                            "value": str(event.tokens),
                        },
                    },
                    {"idempotency_key": _meter_key(event), "max_network_retries": 0},
                )
        except PaymentsRefused as refused:
            if DUPLICATE in f"{refused.code} {refused.message}":
                return False
            raise
        return True

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
                _read(each, MeterSummary).aggregated_value async for each in page.auto_paging_iter()
            ]
        return round(sum(sums))

    # Webhooks

    def event(self, body: bytes, signature: str) -> PaymentEvent:
        _verify(body, signature, self._webhook_secrets)
        try:
            return StripeEvent.model_validate_json(body).payment_event()
        except ValueError as error:
            raise WebhookInvalid("no event of Stripe's") from error

    async def meter_problem(self, body: bytes, signature: str) -> MeterProblem | None:
        _verify(body, signature, self._meter_webhook_secrets)
        try:
            thin = self._client.parse_event_notification_without_verification(body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WebhookInvalid("no thin event of Stripe's") from error
        if thin.type != METER_PROBLEM:
            return None
        async with translated():
            # The notification only says where to look; what happened has to be fetched. The
            # notification's own way to do that sends a parameter that the API doesn't know.
            found = await self._client.v2.core.events.retrieve_async(thin.id)
            whole = _read(found, StripeMeterProblem)
        return MeterProblem(
            event_id=thin.id,
            meter_id=thin.related_object.id,
            created_at=_instant(thin.created),
            reasons=tuple(
                (
                    kind.code,
                    kind.error_count,
                    tuple(_identifier(sample.request.identifier) for sample in kind.sample_errors),
                )
                for kind in whole.data.reason.error_types
            ),
        )

    # What is looked up once in a while

    async def _prices_of(self, plan: str) -> _Prices:
        known = self._prices.get(plan)
        if known and time.monotonic() - known.read_at < CACHE_SECONDS:
            return known
        keys = [plan + BASE_PRICE, plan + USAGE_PRICE]
        async with translated():
            page = await self._client.v1.prices.list_async({"lookup_keys": keys, "active": True})
            prices = [_read(each, StripePrice) for each in page.data]
        found = {price.lookup_key: price.id for price in prices}
        if missing := [key for key in keys if key not in found]:
            raise PaymentsRefused(
                "price_missing", f"no active price has the lookup key {', '.join(missing)}"
            )
        self._prices[plan] = _Prices(found[keys[0]], found[keys[1]], time.monotonic())
        return self._prices[plan]

    async def _meter_id(self) -> str:
        if self._meter is None:
            async with translated():
                page = await self._client.v1.billing.meters.list_async(
                    {"status": "active", "limit": PAGE}
                )
                meters = [_read(each, StripeMeter) async for each in page.auto_paging_iter()]
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
            product = _read(
                await self._client.v1.products.retrieve_async(price.product), StripeProduct
            )
            self._products[price.product] = product.metadata.plan if product.metadata else None
        return self._products[price.product] or price.plan_by_key


def _read(found: StripeObject, shape: type[Shape]) -> Shape:
    return shape.model_validate(found.to_dict(for_json=True))


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _meter_key(event: MeterEvent) -> str:
    """The same for every try, but after a failure that was answered: Stripe would repeat that for a
    day. The identifier alone keeps the event from counting twice."""
    return f"{event.identifier}.{event.failures}" if event.failures else event.identifier


def _identifier(key: str) -> str:
    """Of an event, by the key under which it was sent."""
    return key.partition(".")[0]


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _verify(body: bytes, signature: str, secrets: Sequence[str]) -> None:
    """Signed with any of the secrets (one may be in rotation), and lately.

    The SDK refuses old signatures, but not those of the future, which would be good for longer.
    """
    for secret in secrets:
        try:
            WebhookSignature.verify_header(  # pyright: ignore[reportUnknownMemberType]
                body, signature, secret, SIGNATURE_SECONDS
            )
        except (stripe.SignatureVerificationError, ValueError, TypeError):
            # Another secret's; or no text at all, or a signature in letters that no digest has.
            continue
        if _signed_at(signature) <= time.time() + SIGNATURE_SECONDS:
            return
    raise WebhookInvalid("not signed by Stripe, or not lately")


def _signed_at(signature: str) -> int:
    """Of a header that was verified: the same time that the SDK read."""
    return next(int(part[2:]) for part in signature.split(",") if part.startswith("t="))
