"""A plan as this project sells it, for tests of the fake's pages."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from stripe import StripeClient, Subscription
from stripe.checkout import Session

if TYPE_CHECKING:
    from stripe.params import SubscriptionCreateParams
    from stripe.params.checkout import SessionCreateParams

METER_EVENT = "ai_tokens_used"
APP = "http://127.0.0.1:3999"
INCLUDED = 2_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Ids: $20 a month with two million tokens, then $10 for each million."""

    base: str
    usage: str


async def offer_plan(client: StripeClient) -> Plan:
    meter = await client.v1.billing.meters.create_async(
        {
            "display_name": "AI tokens",
            "event_name": METER_EVENT,
            "default_aggregation": {"formula": "sum"},
        }
    )
    product = await client.v1.products.create_async(
        {"name": "Pro & <b>more</b>", "unit_label": "token"}
    )
    base = await client.v1.prices.create_async(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": 2000,
            "recurring": {"interval": "month", "usage_type": "licensed"},
        }
    )
    usage = await client.v1.prices.create_async(
        {
            "product": product.id,
            "currency": "usd",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [
                {"up_to": INCLUDED, "unit_amount_decimal": Decimal(0)},
                {"up_to": "inf", "unit_amount_decimal": Decimal("0.001")},
            ],
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
        }
    )
    await client.v1.billing_portal.configurations.create_async(
        {
            "default_return_url": f"{APP}/billing",
            "features": {
                "invoice_history": {"enabled": True},
                "payment_method_update": {"enabled": True},
                "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
                "subscription_update": {"enabled": False},
            },
        }
    )
    return Plan(base.id, usage.id)


async def checkout(
    client: StripeClient,
    plan: Plan,
    *,
    trial_days: int = 0,
    codes: bool = True,
    app: str = APP,
) -> Session:
    customer = await client.v1.customers.create_async({"email": "ada@example.com"})
    wanted: SessionCreateParams = {
        "customer": customer.id,
        "mode": "subscription",
        "line_items": [{"price": plan.base, "quantity": 1}, {"price": plan.usage}],
        "allow_promotion_codes": codes,
        "success_url": f"{app}/billing?done={{CHECKOUT_SESSION_ID}}",
        "cancel_url": f"{app}/billing",
    }
    if trial_days:
        wanted["subscription_data"] = {"trial_period_days": trial_days}
    return await client.v1.checkout.sessions.create_async(wanted)


async def subscribe(
    client: StripeClient, plan: Plan, card: str = "pm_card_visa", *, trial_days: int = 0
) -> str:
    """A customer who has, by the API."""
    customer = await client.v1.customers.create_async({"name": "Ada", "email": "ada@example.com"})
    method = await client.v1.payment_methods.attach_async(card, {"customer": customer.id})
    wanted: SubscriptionCreateParams = {
        "customer": customer.id,
        "items": [{"price": plan.base}, {"price": plan.usage}],
        "default_payment_method": method.id,
    }
    if trial_days:
        wanted["trial_period_days"] = trial_days
    await client.v1.subscriptions.create_async(wanted)
    return customer.id


async def subscriptions(client: StripeClient, customer: object) -> list[Subscription]:
    found = await client.v1.subscriptions.list_async({"customer": str(customer), "status": "all"})
    return list(found.data)


async def portal(client: StripeClient, customer: str) -> str:
    session = await client.v1.billing_portal.sessions.create_async({"customer": customer})
    return session.url
