"""Brings a Stripe account in step with the plans: meter, products, prices, portal.

The account may have changed since the last run: each object is looked up (products by their id, prices
by lookup key, the rest by a mark in its metadata), compared, and created or changed only where it
differs. Running it twice, or again after an interruption, ends the same. A price can't be changed at
Stripe: a new one takes over its lookup key, and existing subscribers keep the old one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator

from aisaas.adapters.stripe_client import connect, read, translated
from aisaas.adapters.stripe_objects import (
    BASE_PRICE,
    EXTRA_USAGE_PRICE,
    METER,
    OURS,
    PLAN,
    Id,
    Item,
    LatestInvoice,
    MeterSummary,
    StripeSubscription,
)
from aisaas.adapters.stripe_payments import BILLING_MODE, MISSING
from aisaas.billing.plans.terms import MILLION, Plan, plans
from aisaas.billing.ports import EXTRA_USAGE_METER, TOKEN_METER
from aisaas.errors import PaymentsRefused
from aisaas.settings import Settings

if TYPE_CHECKING:
    from stripe.params import PriceCreateParams
    from stripe.params.billing import MeterCreateParams
    from stripe.params.billing_portal import ConfigurationCreateParams

CENTS = 100
MINUTE = 60
EXTRA_USAGE_LABEL = "Extra usage"
CURRENCY = "usd"
PAGE = 100

Action = Literal["made", "changed", "kept"]


@dataclass(frozen=True, slots=True)
class Step:
    """What was done with an object, or would be."""

    what: str
    action: Action
    detail: str = ""


class StripeCatalogue:
    """One account, and the plans it should sell."""

    def __init__(
        self,
        secret_key: str,
        *,
        api_base: str | None = None,
        plans: Sequence[Plan],
        return_url: str,
        dry_run: bool = False,
    ) -> None:
        self._client, self._http = connect(secret_key, api_base)
        self._plans = [plan for plan in plans if plan.price is not None]
        self._return_url = return_url
        self._dry_run = dry_run
        self._token_meter: str | None = None
        self._steps: list[Step] = []

    async def close(self) -> None:
        await self._http.close_async()

    async def sync(self) -> Sequence[Step]:
        """Create what is missing, dependencies first.

        Raises:
            PaymentsError, PaymentsRefused: steps already done stay, and are found next time.
        """
        self._steps = []
        meter = await self._meter()
        await self._product(EXTRA_USAGE_PRICE, EXTRA_USAGE_LABEL, "micro-dollar")
        extra = await self._price(
            EXTRA_USAGE_PRICE, _extra_usage_price(meter), "what extra usage costs, for all plans"
        )
        for plan in self._plans:
            assert plan.price is not None
            await self._product(plan.id, plan.label, "token", {PLAN: plan.id})
            detail = f"{plan.price.base_usd} USD a month"
            await self._price(plan.id + BASE_PRICE, _base_price(plan), detail)
        await self._portal()
        await self._subscriptions(extra)
        return self._steps

    async def _done(
        self, what: str, action: Action, detail: str, change: Callable[[], Awaitable[Any]]
    ) -> Any:
        self._steps.append(Step(what, action, detail))
        if self._dry_run:
            return None
        async with translated():
            return await change()

    def _kept(self, what: str) -> None:
        self._steps.append(Step(what, "kept"))

    async def _meter(self) -> str:
        meters = self._client.v1.billing.meters
        async with translated():
            page = await meters.list_async({"status": "active", "limit": PAGE})
            found = [each async for each in page.auto_paging_iter()]
        self._token_meter = next((m.id for m in found if m.event_name == TOKEN_METER), None)
        what = f"meter {EXTRA_USAGE_METER}"
        for each in found:
            if each.event_name == EXTRA_USAGE_METER:
                self._kept(what)
                return each.id
        wanted: MeterCreateParams = {
            "display_name": "Extra usage (millionths of a dollar)",
            "event_name": EXTRA_USAGE_METER,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
        made = await self._done(
            what, "made", "sums what extra usage costs", lambda: meters.create_async(wanted)
        )
        return made.id if made else "(to be made)"

    async def _product(
        self, name: str, label: str, unit: str, metadata: dict[str, str] | None = None
    ) -> None:
        products, product_id, what = (
            self._client.v1.products,
            _product_id(name),
            f"product {name}",
        )
        metadata = metadata or {}
        try:
            async with translated():
                found = await products.retrieve_async(product_id)
        except PaymentsRefused as refused:
            if refused.code != MISSING:
                raise
            await self._done(
                what,
                "made",
                label,
                lambda: products.create_async(
                    {"id": product_id, "name": label, "metadata": metadata, "unit_label": unit}
                ),
            )
            return
        same = found.name == label and found.active
        if same and found.metadata.to_dict().items() >= metadata.items():
            self._kept(what)
            return
        await self._done(
            what,
            "changed",
            label,
            lambda: products.update_async(
                product_id, {"name": label, "active": True, "metadata": metadata}
            ),
        )

    async def _price(self, key: str, wanted: PriceCreateParams, detail: str) -> str | None:
        """Its id, or None if it would be created."""
        prices = self._client.v1.prices
        async with translated():
            page = await prices.list_async(
                {"lookup_keys": [key], "active": True, "expand": ["data.tiers"]}
            )
        present = page.data[0] if page.data else None
        what = f"price {key}"
        if present is not None and _terms(present.to_dict(for_json=True)) == _terms(wanted):
            self._kept(what)
            return present.id
        wanted["lookup_key"] = key
        wanted["transfer_lookup_key"] = True
        made = await self._done(
            what, "changed" if present else "made", detail, lambda: prices.create_async(wanted)
        )
        if made is not None and present is not None:
            # No new subscriptions to the old price; existing ones keep it.
            async with translated():
                await prices.update_async(present.id, {"active": False})
        return made.id if made else None

    async def _subscriptions(self, extra: str | None) -> None:
        """Bill live subscriptions to plans as new ones: in the same mode, with the metered price of
        all plans. An older token price stays until the period that used it is invoiced, so no usage
        is ever without a price, or has two."""
        what = "subscriptions"
        sold = {_product_id(plan.id) for plan in self._plans}
        live = self._client.v1.subscriptions
        async with translated():
            page = await live.list_async({"limit": PAGE, "expand": ["data.latest_invoice"]})
            found = [
                StripeSubscription.model_validate(each.to_dict(for_json=True))
                async for each in page.auto_paging_iter()
            ]
        ours = [each for each in found if each.base and each.base.price.product in sold]
        behind = 0
        for each in ours:
            changes = await self._changes_of(each, extra)
            behind += bool(changes)
            for detail, change in changes:
                await self._done(f"subscription {each.id}", "changed", detail, change)
        if not behind:
            self._kept(what)

    async def _changes_of(
        self, subscription: StripeSubscription, extra: str | None
    ) -> Sequence[tuple[str, Callable[[], Awaitable[Any]]]]:
        live, given = self._client.v1.subscriptions, subscription.id
        changes: list[tuple[str, Callable[[], Awaitable[Any]]]] = []
        mode = subscription.billing_mode
        if mode is None or mode.type != BILLING_MODE:
            changes.append(
                (
                    f"{BILLING_MODE} billing mode",
                    lambda: live.migrate_async(given, {"billing_mode": {"type": BILLING_MODE}}),
                )
            )
        money = next((item for item in subscription.metered if item.price.bills_money), None)
        if money is None:
            changes.append(
                (
                    "the price for extra usage is added",
                    lambda: live.update_async(
                        given, {"items": [{"price": str(extra)}], "proration_behavior": "none"}
                    ),
                )
            )
            return changes
        for item in subscription.metered:
            if not item.price.bills_money and await self._is_over(subscription, item, money):
                changes.append(
                    (
                        "the price for tokens is removed",
                        lambda item=item: live.update_async(
                            given,
                            {
                                "items": [{"id": item.id, "deleted": True}],
                                "proration_behavior": "none",
                            },
                        ),
                    )
                )
        return changes

    async def _is_over(self, subscription: StripeSubscription, old: Item, money: Item) -> bool:
        """Whether all usage that the old price bills is on an invoice that can't change any more."""
        start, latest = old.current_period_start, subscription.latest_invoice
        if start is None or money.created >= start or self._token_meter is None:
            return False
        if not isinstance(latest, LatestInvoice) or latest.status in (None, "draft"):
            return False
        first = start - start % MINUTE
        async with translated():
            page = await self._client.v1.billing.meters.event_summaries.list_async(
                self._token_meter,
                {
                    "customer": subscription.customer,
                    "start_time": first,
                    "end_time": max(first, int(time.time())) // MINUTE * MINUTE + MINUTE,
                },
            )
            used = [
                read(each, MeterSummary).aggregated_value async for each in page.auto_paging_iter()
            ]
        return not any(used)

    async def _portal(self) -> None:
        """Cards, invoices and cancelling. A change of plan happens on our own page: the portal offers
        it for no subscription that has usage in it."""
        configurations, what = self._client.v1.billing_portal.configurations, "portal configuration"
        wanted: ConfigurationCreateParams = {
            "default_return_url": self._return_url,
            "metadata": OURS,
            "features": {
                "customer_update": {
                    "enabled": True,
                    "allowed_updates": ["email", "name", "address", "tax_id"],
                },
                "invoice_history": {"enabled": True},
                "payment_method_update": {"enabled": True},
                "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
                "subscription_update": {"enabled": False},
            },
        }
        async with translated():
            page = await configurations.list_async({"active": True, "limit": PAGE})
            found = [each async for each in page.auto_paging_iter()]
        for each in found:
            present = each.to_dict(for_json=True)
            if (present.get("metadata") or {}).items() >= OURS.items():
                if _contains(present, dict(wanted)):
                    self._kept(what)
                    return
                await self._done(
                    what,
                    "changed",
                    self._return_url,
                    lambda: configurations.update_async(each.id, dict(wanted)),  # pyright: ignore[reportArgumentType]  # noqa: B023
                )
                return
        await self._done(
            what, "made", self._return_url, lambda: configurations.create_async(wanted)
        )


async def sync(config: Settings, *, dry_run: bool = False) -> Sequence[Step]:
    """Bring the account of the current key in step: what was done, or would be."""
    assert config.stripe_secret_key is not None
    catalogue = StripeCatalogue(
        config.stripe_secret_key.get_secret_value(),
        api_base=config.stripe_api_base,
        plans=tuple(plans(config).values()),
        return_url=f"{config.url}/billing",
        dry_run=dry_run,
    )
    try:
        return await catalogue.sync()
    finally:
        await catalogue.close()


def _product_id(name: str) -> str:
    return f"aisaas_{name}"


def _base_price(plan: Plan) -> PriceCreateParams:
    assert plan.price is not None
    return {
        "product": _product_id(plan.id),
        "currency": CURRENCY,
        "unit_amount": int(plan.price.base_usd * CENTS),
        "recurring": {"interval": "month", "usage_type": "licensed"},
        "tax_behavior": "exclusive",
        "metadata": {PLAN: plan.id},
    }


def _extra_usage_price(meter: str) -> PriceCreateParams:
    """A millionth of a dollar for each one the ledger charged: Stripe bills what the ledger says, on
    any plan."""
    return {
        "product": _product_id(EXTRA_USAGE_PRICE),
        "currency": CURRENCY,
        "unit_amount_decimal": CENTS / MILLION,
        "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
        "tax_behavior": "exclusive",
        "metadata": {METER: EXTRA_USAGE_METER},
    }


class _Amount(BaseModel):
    unit_amount: int | None = None
    unit_amount_decimal: Decimal | None = None

    @property
    def cents(self) -> Decimal:
        exact = self.unit_amount_decimal
        return Decimal(self.unit_amount or 0) if exact is None else exact


def _end_of(said: object) -> object:
    """Stripe takes "inf" and gives null."""
    return None if said == "inf" else said


class _Tier(_Amount):
    up_to: Annotated[int | None, BeforeValidator(_end_of)]


class _Recurring(BaseModel):
    interval: str
    usage_type: str
    meter: str | None = None


class _Price(_Amount):
    """What a price means, whether it is one that we want or one that is there."""

    product: Id
    currency: str
    billing_scheme: str = "per_unit"
    tiers: tuple[_Tier, ...] | None = None
    recurring: _Recurring
    metadata: dict[str, str]

    @property
    def terms(self) -> tuple[object, ...]:
        tiers = tuple((tier.up_to, tier.cents) for tier in self.tiers or ())
        flat = None if tiers else self.cents
        ours = (self.metadata.get(PLAN), self.metadata.get(METER))
        return (self.product, self.currency, self.billing_scheme, tiers, flat, self.recurring, ours)


def _terms(price: object) -> tuple[object, ...]:
    return _Price.model_validate(price).terms


def _contains(present: object, wanted: object) -> bool:
    """Whether everything that is wanted is there; what Stripe adds by itself doesn't matter."""
    match present, wanted:
        case dict(), dict():
            there, pairs = cast("dict[str, object]", present), cast("dict[str, object]", wanted)
            return all(_contains(there.get(name), value) for name, value in pairs.items())
        case list(), list():
            return set(cast("list[str]", present)) == set(cast("list[str]", wanted))
        case _:
            return present == wanted
