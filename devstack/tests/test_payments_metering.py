"""The catalogue and the meter of the Stripe fake."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import stripe
from stripe import StripeClient

from devstack.tests.payments_client import (
    Counterpart,
    control,
    counterpart,
    refused,
    until,
    variables_for,
)
from devstack.tests.webhook_receiver import Receiver, receiving

MINUTE = 60


@pytest.fixture(scope="module")
def thin() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory, thin: Receiver) -> Iterator[Counterpart]:
    variables = variables_for(
        tmp_path_factory.mktemp("payments") / "books",
        PAYMENTS_THIN_WEBHOOK_URL=thin.url,
        PAYMENTS_THIN_WEBHOOK_SECRET=thin.secret,
    )
    with counterpart(variables) as running:
        yield running


@dataclass
class Metered:
    """A meter and a customer of one test."""

    client: StripeClient
    meter: str
    event_name: str
    customer: str

    async def use(self, value: object, **more: Any) -> Any:
        payload = {"stripe_customer_id": self.customer, "value": str(value)}
        params: Any = {"event_name": self.event_name, "payload": payload, **more}
        return await self.client.v1.billing.meter_events.create_async(params)

    async def used(self, start: int, end: int, **more: Any) -> list[int]:
        params: Any = {"customer": self.customer, "start_time": start, "end_time": end, **more}
        summaries = self.client.v1.billing.meters.event_summaries
        found = await summaries.list_async(self.meter, params)
        return [int(each.aggregated_value) for each in found.data]


@pytest.fixture
async def metered(client: StripeClient) -> Metered:
    name = f"tokens_{uuid4().hex[:8]}"
    meter = await client.v1.billing.meters.create_async(
        {
            "display_name": "Tokens",
            "event_name": name,
            "default_aggregation": {"formula": "sum"},
        }
    )
    customer = await client.v1.customers.create_async()
    return Metered(client, meter.id, name, customer.id)


async def test_a_metered_price_has_its_tiers_and_its_lookup_key(metered: Metered) -> None:
    prices, key = metered.client.v1.prices, f"pro_{uuid4().hex[:8]}"
    product = await metered.client.v1.products.create_async({"name": "Tokens"})
    params: Any = {
        "currency": "usd",
        "product": product.id,
        "recurring": {"interval": "month", "usage_type": "metered", "meter": metered.meter},
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": [
            {"up_to": 1000, "unit_amount": 0},
            {"up_to": "inf", "unit_amount_decimal": "0.0002"},
        ],
        "lookup_key": key,
        "expand": ["tiers", "product"],
    }
    price = await prices.create_async(params)
    assert price.tiers is not None
    assert [(tier.up_to, str(tier.unit_amount_decimal)) for tier in price.tiers] == [
        (1000, "0"),
        (None, "0.0002"),
    ]
    assert not isinstance(price.product, str)
    assert price.product.name == "Tokens"
    assert (await prices.retrieve_async(price.id)).type == "recurring"
    assert "tiers" not in await prices.retrieve_async(price.id)

    error = await refused(stripe.InvalidRequestError, prices.create_async(params))
    assert error.param == "lookup_key"
    newer = await prices.create_async(params | {"transfer_lookup_key": True})
    found = await prices.list_async({"lookup_keys": [key], "expand": ["data.tiers"]})
    assert [each.id for each in found.data] == [newer.id]
    assert found.data[0].tiers is not None
    assert (await prices.retrieve_async(price.id)).lookup_key is None


async def test_prices_that_make_no_sense_are_refused(metered: Metered) -> None:
    client = metered.client
    product = await client.v1.products.create_async({"name": "Pro"})
    base: dict[str, Any] = {"currency": "usd", "product": product.id}
    tiered = {"billing_scheme": "tiered", "tiers_mode": "graduated"}
    monthly = {"interval": "month"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"unit_amount": 100, "product": "prod_none"}, "product"),
        ({}, "unit_amount"),
        ({"unit_amount": 1, "unit_amount_decimal": "1.5"}, "unit_amount"),
        ({"unit_amount": 100, "currency": "USD"}, "currency"),
        ({"unit_amount": 1, "recurring": monthly | {"usage_type": "metered"}}, "recurring[meter]"),
        ({"unit_amount": 1, "recurring": monthly | {"meter": metered.meter}}, "recurring[meter]"),
        ({**tiered, "tiers": [{"up_to": 5, "unit_amount": 1}]}, "tiers[0][up_to]"),
        ({**tiered, "tiers": [{"up_to": "inf"}]}, "unit_amount"),
    ]
    for params, param in cases:
        call: Any = client.v1.prices.create_async(base | params)  # pyright: ignore[reportArgumentType]
        error = await refused(stripe.InvalidRequestError, call)
        assert error.param == param
    exact = await client.v1.prices.create_async(
        {"currency": "usd", "product": product.id, "unit_amount": 1500, "recurring": monthly}  # pyright: ignore[reportArgumentType]
    )
    assert (exact.unit_amount, str(exact.unit_amount_decimal)) == (1500, "1500")


async def test_an_identifier_counts_once(metered: Metered) -> None:
    minute = int(time.time()) // MINUTE * MINUTE
    identifier = uuid4().hex
    await metered.use(700, identifier=identifier, timestamp=minute)
    error = await refused(
        stripe.InvalidRequestError, metered.use(700, identifier=identifier, timestamp=minute)
    )
    assert error.http_status == 400
    assert f"already exists with identifier {identifier}" in str(error.user_message)
    await metered.use(42, timestamp=minute)
    assert await metered.used(minute, minute + MINUTE) == [742]


async def test_usage_is_summed_by_its_own_time(metered: Metered) -> None:
    hour = int(time.time()) // 3600 * 3600
    for before, value in ((0, 1), (2, 10), (30, 100), (24 * 30, 1000)):
        await metered.use(value, timestamp=hour - before * 3600)
    assert await metered.used(hour - 3 * 3600, hour + 3600) == [11]
    error = await refused(stripe.InvalidRequestError, metered.used(hour + 1, hour + 3600))
    assert error.param == "start_time"


async def test_usage_out_of_the_window_or_without_sense_is_refused(metered: Metered) -> None:
    now = int(time.time())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"timestamp": now - 36 * 86400}, "timestamp"),
        ({"timestamp": now + 600}, "timestamp"),
        ({"payload": {"stripe_customer_id": metered.customer, "value": "1.5"}}, "payload[value]"),
        ({"payload": {"stripe_customer_id": metered.customer}}, "payload[value]"),
        ({"payload": {"value": "1"}}, "payload[stripe_customer_id]"),
        ({"event_name": "no_such_meter"}, "event_name"),
    ]
    for params, param in cases:
        error = await refused(stripe.InvalidRequestError, metered.use(1, **params))
        assert error.param == param


async def test_a_second_call_for_the_same_customer_has_to_wait(metered: Metered) -> None:
    results = await asyncio.gather(*(metered.use(1) for _ in range(8)), return_exceptions=True)
    limited = [r for r in results if isinstance(r, stripe.RateLimitError)]
    accepted = [r for r in results if not isinstance(r, BaseException)]
    assert limited
    assert len(limited) + len(accepted) == 8
    minute = int(time.time()) // MINUTE * MINUTE
    assert await metered.used(minute - MINUTE, minute + MINUTE) == [len(accepted)]


async def test_cancelled_usage_no_longer_counts(metered: Metered) -> None:
    minute = int(time.time()) // MINUTE * MINUTE
    identifier = uuid4().hex
    await metered.use(5, identifier=identifier, timestamp=minute)
    await metered.use(6, timestamp=minute)
    cancel: Any = {
        "event_name": metered.event_name,
        "type": "cancel",
        "cancel": {"identifier": identifier},
    }
    adjustments = metered.client.v1.billing.meter_event_adjustments
    assert (await adjustments.create_async(cancel)).cancel
    assert await metered.used(minute, minute + MINUTE) == [6]
    await refused(stripe.InvalidRequestError, adjustments.create_async(cancel))


async def test_usage_of_nobody_is_taken_and_reported_later(
    metered: Metered, thin: Receiver, client: StripeClient
) -> None:
    gone = await client.v1.customers.create_async()
    await client.v1.customers.delete_async(gone.id)
    identifier = uuid4().hex
    payload = {"stripe_customer_id": gone.id, "value": "7"}
    accepted = await metered.use(7, payload=payload, identifier=identifier)
    assert accepted.identifier == identifier

    def deliveries() -> list[dict[str, Any]]:
        return [e for e in thin.received if e["related_object"]["id"] == metered.meter]

    (event,) = await until(deliveries)
    assert event["type"] == "v1.billing.meter.error_report_triggered"
    assert "data" not in event
    notification: Any = client.parse_event_notification_without_verification(json.dumps(event))
    assert (await notification.fetch_related_object_async()).event_name == metered.event_name
    whole = await notification.fetch_event_async()
    assert whole.type == event["type"]
    (problem,) = whole.to_dict()["data"]["reason"]["error_types"]
    assert problem["code"] == "meter_event_customer_not_found"
    assert problem["sample_errors"][0]["request"]["identifier"] == identifier


async def test_time_that_passes_in_the_books_leaves_the_windows_alone(
    metered: Metered, payments: Counterpart
) -> None:
    identifier = uuid4().hex
    await metered.use(3, identifier=identifier)
    async with control(payments.url) as http:
        before = (await http.get("/clock")).json()["now"]
        after = (await http.post("/clock", json={"advance_seconds": 40 * 86400})).json()["now"]
        assert after - before >= 40 * 86400
    made = await metered.client.v1.customers.create_async()
    assert made.created >= after
    await refused(stripe.InvalidRequestError, metered.use(3, identifier=identifier))
    await metered.use(4)
    minute = int(time.time()) // MINUTE * MINUTE
    assert await metered.used(minute - MINUTE, minute + MINUTE) == [7]


async def test_an_inactive_meter_takes_nothing(metered: Metered) -> None:
    meters = metered.client.v1.billing.meters
    assert (await meters.deactivate_async(metered.meter)).status == "inactive"
    await refused(stripe.InvalidRequestError, metered.use(1))
    assert (await meters.reactivate_async(metered.meter)).status == "active"
    await metered.use(1)
