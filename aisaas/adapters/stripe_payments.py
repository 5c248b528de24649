"""Payments through stripe-python: Stripe itself, or another server that speaks its protocol.

Every call that creates something carries an idempotency key derived from the request, so a repeated
call creates one object. The SDK retries by itself after 409, 5xx and lost connections, with the same
key; usage is the exception, because the outbox has a retry schedule of its own.

Outage: PaymentsError within CALL_SECONDS. Only the caller waits: chat needs none of this.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from stripe import StripeObject

from aisaas.adapters.stripe_client import connect, read, read_all, read_page, translated
from aisaas.adapters.stripe_objects import (
    BASE_PRICE,
    EXTRA_USAGE_PRICE,
    PERIOD_START,
    PERIOD_TOKENS,
    PLAN,
    USER_ID,
    Identified,
    InvoicePayment,
    InvoiceWithPayments,
    MaybeDeleted,
    MeterSummary,
    Page,
    PaidBy,
    PortalConfiguration,
    Schedule,
    StripeEvent,
    StripeInvoice,
    StripeMeter,
    StripePreview,
    StripePrice,
    StripeProduct,
    StripeSubscription,
    TakenEvent,
    at,
)
from aisaas.adapters.stripe_webhooks import (
    fetch_meter_problem,
    meter_key,
    read_event,
    read_meter_notice,
    verify,
)
from aisaas.billing.plans.models import FINAL_STATUSES
from aisaas.billing.ports import (
    EXTRA_USAGE_METER,
    EndedSubscription,
    Invoice,
    InvoicePreview,
    MeterEvent,
    MeterProblem,
    PaidInvoice,
    PaidSubscription,
    PaymentEvent,
    PeriodAllowance,
)
from aisaas.errors import CHECKOUT_PAID, PaymentsRefused

if TYPE_CHECKING:
    from stripe.params import (
        CustomerCreateParams,
        RefundCreateParams,
        SubscriptionUpdateParams,
    )
    from stripe.params.billing_portal import SessionCreateParams as PortalSessionCreateParams
    from stripe.params.checkout import SessionCreateParams

# Chosen, not left to the version of the API (docs/decisions/0025).
BILLING_MODE = "flexible"
CACHE_SECONDS = 300.0
PAGE = 100

MISSING = "resource_missing"
# States of a Checkout session, and the metadata key that finds the same one again.
OPEN, PAID, ATTEMPT = "open", "complete", "attempt"
CHECKOUT_TRIES = 3
REFUNDED = "charge_already_refunded"
NO_NEXT_INVOICE = "invoice_upcoming_none"
DUPLICATE = "already exists with identifier"


@dataclass(frozen=True, slots=True)
class _Prices:
    base: str
    usage: str
    read_at: float


class StripePayments:
    """Implements `billing.ports.Payments`. An instance belongs to one event loop."""

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
        self._meters: dict[str, str] = {}
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
            # Tax needs an address, which Checkout collects and stores.
            "customer_update": {"address": "auto"},
            "client_reference_id": str(user_id),
            # A metered price takes no quantity: the meter has it.
            "line_items": [{"price": prices.base, "quantity": 1}, {"price": prices.usage}],
            "metadata": ours,
            "subscription_data": {"metadata": ours, "billing_mode": {"type": BILLING_MODE}},
            "automatic_tax": {"enabled": True},
            "allow_promotion_codes": True,
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        if trial_days > 0:
            wanted["subscription_data"] |= {"trial_period_days": trial_days}
        # As above: a price that changed since makes another page.
        asked = hashlib.sha256(json.dumps([attempt, wanted]).encode()).hexdigest()
        wanted["metadata"] = ours | {ATTEMPT: asked}
        for _ in range(CHECKOUT_TRIES):
            pages = await self._pages_of(user_id, customer_id)
            same = next((p for p in pages if p.status == OPEN and p.attempt == asked), None)
            await self._close(page for page in pages if page is not same)
            if same is not None and same.url is not None:
                # A request for another plan at the same moment keeps its own page and closes this one.
                left = await self._pages_of(user_id, customer_id)
                if any(page.id == same.id and page.status == OPEN for page in left):
                    return same.url
                continue
            # The key's answer is remembered for a day: a page that was closed since needs another.
            known = "\n".join([asked, *sorted(page.id for page in pages)])
            key = hashlib.sha256(known.encode()).hexdigest()
            async with translated():
                await self._client.v1.checkout.sessions.create_async(
                    wanted, {"idempotency_key": f"checkout-{key}"}
                )
            # Two that were asked for at the same moment don't know of each other: the last one counts.
            opened = [p for p in await self._pages_of(user_id, customer_id) if p.status == OPEN]
            if opened:
                last = max(opened, key=lambda page: (page.created, page.id))
                await self._close(page for page in opened if page is not last)
                return str(last.url)
        raise PaymentsRefused("page_closed", "other pages were asked for at the same time")

    async def _pages_of(self, user_id: UUID, customer_id: str) -> Sequence[Page]:
        """The customer's newest pages of Checkout that were made here, open or not."""
        async with translated():
            listed = await self._client.v1.checkout.sessions.list_async(
                {"customer": customer_id, "limit": PAGE}
            )
            found = read_page(listed, Page)
        return [page for page in found if page.metadata and page.metadata.user_id == user_id]

    async def _close(self, pages: Iterable[Page]) -> None:
        """What can't be paid any more can't be paid twice. Raises PaymentsRefused for one that was."""
        sessions = self._client.v1.checkout.sessions
        for page in pages:
            if page.status != OPEN:
                continue
            try:
                async with translated():
                    await sessions.expire_async(page.id)
            except PaymentsRefused as refused:
                async with translated():
                    found = read(await sessions.retrieve_async(page.id), Page)
                if found.status == PAID:
                    raise PaymentsRefused(CHECKOUT_PAID, "it was paid meanwhile") from refused
                if found.status == OPEN:
                    raise

    async def switch(
        self, subscription_id: str, plan: str, *, allowance: PeriodAllowance | None
    ) -> None:
        prices = await self._prices_of(plan)
        async with translated():
            found = await self._client.v1.subscriptions.retrieve_async(subscription_id)
            base = read(found, StripeSubscription).base
            if base is None or base.price.id == prices.base:
                return
            # All plans share the metered price, so a switch neither reprices nor drops usage.
            wanted: SubscriptionUpdateParams = {
                "items": [{"id": base.id, "price": prices.base}],
                "proration_behavior": "always_invoice",
                "payment_behavior": "error_if_incomplete",
            }
            if allowance is not None:
                wanted["metadata"] = {
                    PERIOD_START: str(_seconds(allowance.start)),
                    PERIOD_TOKENS: str(allowance.tokens),
                }
            await self._client.v1.subscriptions.update_async(subscription_id, wanted)

    async def switch_later(self, subscription_id: str, plan: str) -> None:
        prices, schedules = await self._prices_of(plan), self._client.v1.subscription_schedules
        async with translated():
            found = await self._client.v1.subscriptions.retrieve_async(subscription_id)
            subscription = read(found, StripeSubscription)
            if subscription.schedule is None:
                made = await schedules.create_async({"from_subscription": subscription_id})
            else:
                made = await schedules.retrieve_async(str(subscription.schedule))
            schedule = read(made, Schedule)
            first = schedule.phases[0]
            metered: list[Any] = [{"price": item.price.id} for item in subscription.metered]
            now: list[Any] = [
                {"price": item.price.id, "quantity": 1}
                for item in subscription.items.data
                if item.price.licensed
            ]
            kept = {"automatic_tax": {"enabled": True}, "proration_behavior": "none"}
            wanted: Any = {
                "metadata": {PLAN: plan},
                "end_behavior": "release",
                "proration_behavior": "none",
                "phases": [
                    {
                        **kept,
                        "items": [*now, *metered],
                        "start_date": first.start_date,
                        "end_date": first.end_date,
                    },
                    {
                        **kept,
                        "items": [{"price": prices.base, "quantity": 1}, *metered],
                        # Without an end it would be managed by the schedule for good.
                        "duration": {"interval": "month", "interval_count": 1},
                    },
                ],
            }
            await schedules.update_async(schedule.id, wanted)

    async def keep_plan(self, subscription_id: str) -> None:
        async with translated():
            found = await self._client.v1.subscriptions.retrieve_async(subscription_id)
            schedule = read(found, StripeSubscription).schedule
            if schedule is not None:
                await self._client.v1.subscription_schedules.release_async(str(schedule))

    async def paid_for(self, charge_id: str) -> PaidInvoice | None:
        v1 = self._client.v1
        async with translated():
            charge = read(await v1.charges.retrieve_async(charge_id), PaidBy)
            if charge.payment_intent is None:
                return None
            page = await v1.invoice_payments.list_async(
                {"payment": {"type": "payment_intent", "payment_intent": charge.payment_intent}}
            )
            for payment in read_page(page, InvoicePayment):
                invoice = read(await v1.invoices.retrieve_async(payment.invoice), StripeInvoice)
                if invoice.subscription_id is not None:
                    return PaidInvoice(invoice.id, invoice.subscription_id, at(invoice.created))
        return None

    async def end_subscription(self, subscription_id: str, *, refund: bool) -> EndedSubscription:
        live = self._client.v1.subscriptions
        async with translated():
            found = read(await live.retrieve_async(subscription_id), StripeSubscription)
        if found.status not in FINAL_STATUSES:
            await self.keep_plan(subscription_id)
            async with translated():
                if refund and found.metered:
                    # Taken out without proration, usage is on no invoice: the other one has it.
                    gone: Any = [{"id": item.id, "deleted": True} for item in found.metered]
                    await live.update_async(
                        subscription_id, {"items": gone, "proration_behavior": "none"}
                    )
                await live.cancel_async(subscription_id)
        refunded = await self._refund(subscription_id) if refund else 0
        plan = await self._plan_of(found.base.price) if found.base else None
        return EndedSubscription(found.id, found.customer, plan, refunded, found.currency)

    async def _refund(self, subscription_id: str) -> int:
        async with translated():
            page = await self._client.v1.invoices.list_async(
                {"subscription": subscription_id, "limit": PAGE, "expand": ["data.payments"]}
            )
            invoices = await read_all(page, InvoiceWithPayments)
        refunded = 0
        for invoice in invoices:
            if invoice.status == "open":
                async with translated():
                    await self._client.v1.invoices.void_invoice_async(invoice.id)
            for paid in invoice.payments.data if invoice.payments else ():
                if paid.status == "paid" and paid.amount_paid:
                    await self._refund_payment(invoice.id, paid.payment)
                    refunded += paid.amount_paid
        return refunded

    async def _refund_payment(self, invoice_id: str, paid: PaidBy) -> None:
        which: RefundCreateParams = (
            {"payment_intent": paid.payment_intent}
            if paid.payment_intent
            else {"charge": str(paid.charge)}
        )
        try:
            async with translated():
                await self._client.v1.refunds.create_async(
                    which, {"idempotency_key": f"refund-{invoice_id}"}
                )
        except PaymentsRefused as refused:
            if refused.code != REFUNDED:
                raise

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
                    subscription_id, {"expand": ["latest_invoice", "schedule"]}
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
                        "expand": ["data.latest_invoice", "data.schedule"],
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
                        "event_name": event.meter,
                        "identifier": event.identifier,
                        "timestamp": _seconds(event.at),
                        "payload": {
                            "stripe_customer_id": event.customer_id,
                            "value": str(event.value),
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

    async def cancel_usage(self, identifier: str, *, meter: str = EXTRA_USAGE_METER) -> None:
        async with translated():
            await self._client.v1.billing.meter_event_adjustments.create_async(
                {
                    "event_name": meter,
                    "type": "cancel",
                    "cancel": {"identifier": identifier},
                },
                # A retry after no response must not fail because the event is canceled already.
                {"idempotency_key": f"cancel-{identifier}"},
            )

    async def reported_usage(
        self, customer_id: str, start: datetime, end: datetime, *, meter: str = EXTRA_USAGE_METER
    ) -> int:
        meter_id = await self._meter_id(meter)
        async with translated():
            page = await self._client.v1.billing.meters.event_summaries.list_async(
                meter_id,
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

    # Occasional lookups

    async def _prices_of(self, plan: str) -> _Prices:
        known = self._prices.get(plan)
        if known and time.monotonic() - known.read_at < CACHE_SECONDS:
            return known
        keys = [plan + BASE_PRICE, EXTRA_USAGE_PRICE]
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
        """Our configuration; None before it exists, and then the account's default applies."""
        if self._configuration is None:
            async with translated():
                page = await self._client.v1.billing_portal.configurations.list_async(
                    {"active": True, "limit": PAGE}
                )
                found = await read_all(page, PortalConfiguration)
            self._configuration = next((each.id for each in found if each.ours), None)
        return self._configuration

    async def _meter_id(self, event_name: str) -> str:
        if event_name not in self._meters:
            async with translated():
                page = await self._client.v1.billing.meters.list_async(
                    {"status": "active", "limit": PAGE}
                )
                meters = await read_all(page, StripeMeter)
            self._meters |= {meter.event_name: meter.id for meter in meters}
        if event_name not in self._meters:
            raise PaymentsRefused("meter_missing", f"no active meter has the event {event_name}")
        return self._meters[event_name]

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
