"""The port to the payment provider: the real SDK against the Stripe fake."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from stripe import WebhookSignature

from aisaas.adapters import stripe_client
from aisaas.adapters.stripe_objects import StripeSubscription
from aisaas.adapters.stripe_payments import StripePayments
from aisaas.billing.ports import EXTRA_USAGE_METER, MeterEvent
from aisaas.errors import PaymentsError, PaymentsRefused, WebhookInvalid
from devstack.tests.payments_client import (
    KEY,
    Counterpart,
    control,
    counterpart,
    sdk,
    until,
    variables_for,
)
from devstack.tests.webhook_receiver import Receiver, receiving
from tests.metering.provider import make_meter

CUSTOMERS = "POST /v1/customers"
METER_EVENTS = "POST /v1/billing/meter_events"
THIN_SECRET = "whsec_of_the_thin_tests"


@dataclass(frozen=True)
class Server:
    counterpart: Counterpart
    snapshots: Receiver
    thin: Receiver

    @property
    def url(self) -> str:
        return self.counterpart.url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with receiving() as snapshots, receiving(THIN_SECRET) as thin:
        variables = variables_for(
            tmp_path_factory.mktemp("payments") / "books",
            PAYMENTS_WEBHOOK_URL=snapshots.url,
            PAYMENTS_WEBHOOK_SECRET=snapshots.secret,
            PAYMENTS_THIN_WEBHOOK_URL=thin.url,
            PAYMENTS_THIN_WEBHOOK_SECRET=thin.secret,
        )
        with counterpart(variables) as running:
            make_meter(running)
            yield Server(running, snapshots, thin)


@pytest.fixture
async def payments(server: Server) -> AsyncIterator[StripePayments]:
    made = StripePayments(
        KEY,
        api_base=server.url,
        webhook_secrets=("whsec_rotated_out", server.snapshots.secret),
        meter_webhook_secrets=(server.thin.secret,),
    )
    yield made
    await made.close()


@pytest.fixture
async def faults(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with control(server.url) as client:
        yield client
        await client.delete("/faults")


async def fault(client: httpx.AsyncClient, operation: str, kind: str, **more: object) -> None:
    wanted = {"operation": operation, "kind": kind, **more}
    (await client.post("/faults", json=wanted)).raise_for_status()


async def new_customer(payments: StripePayments) -> str:
    return await payments.customer(uuid4(), f"{uuid4().hex}@example.com", "")


def usage(customer: str, tokens: int = 7, **more: Any) -> MeterEvent:
    return MeterEvent(f"usage-{uuid4()}", customer, tokens, datetime.now(UTC), **more)


# Customers


async def test_a_user_has_one_customer_however_often_they_click(
    payments: StripePayments, server: Server
) -> None:
    user = uuid4()
    asked = [payments.customer(user, "ada@example.com", "Ada") for _ in range(5)]
    (customer,) = set(await asyncio.gather(*asked))
    async with sdk(server.url) as client:
        found = await client.v1.customers.retrieve_async(customer)
    assert found.metadata is not None
    assert (found.email, found.name, found.metadata["user_id"]) == (
        "ada@example.com",
        "Ada",
        str(user),
    )


async def test_lost_answers_make_no_second_customer(
    payments: StripePayments, server: Server, faults: httpx.AsyncClient
) -> None:
    email = f"{uuid4().hex}@example.com"
    await fault(faults, CUSTOMERS, "lost_answer", times=2)
    customer = await payments.customer(uuid4(), email, "")
    async with sdk(server.url) as client:
        found = await client.v1.customers.list_async({"email": email})
    assert [each.id for each in found.data] == [customer]


async def test_a_name_that_changed_is_no_error(payments: StripePayments) -> None:
    user = uuid4()
    await payments.customer(user, "ada@example.com", "Ada")
    assert await payments.customer(user, "ada@example.com", "Ada L.")


# Errors


@pytest.mark.parametrize(
    ("kind", "kind_raised", "undone", "answered"),
    [
        ("conflict", "conflict", False, False),
        ("rate_limit", "rate_limited", True, False),
        ("server_error", "server", False, True),
        ("lost_answer", "connection", False, False),
    ],
)
async def test_failures_say_what_is_known_of_the_call(
    payments: StripePayments,
    faults: httpx.AsyncClient,
    kind: str,
    kind_raised: str,
    undone: bool,
    answered: bool,
) -> None:
    customer = await new_customer(payments)
    await fault(faults, METER_EVENTS, kind)
    with pytest.raises(PaymentsError) as caught:
        await payments.report_usage(usage(customer))
    error = caught.value
    assert (error.kind, error.undone, error.answered) == (kind_raised, undone, answered)


async def test_silence_ends_in_time(
    payments: StripePayments, faults: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await new_customer(payments)
    monkeypatch.setattr(stripe_client, "CALL_SECONDS", 0.2)
    await fault(faults, METER_EVENTS, "delay", seconds=1.0)
    with pytest.raises(PaymentsError) as caught:
        await payments.report_usage(usage(customer))
    assert (caught.value.kind, caught.value.undone) == ("timeout", False)


async def test_nobody_there_means_nothing_happened() -> None:
    payments = StripePayments(KEY, api_base="http://127.0.0.1:9")
    with pytest.raises(PaymentsError) as caught:
        await payments.report_usage(usage("cus_x"))
    await payments.close()
    assert (caught.value.kind, caught.value.undone) == ("unreachable", True)


async def test_revoked_key_is_no_refusal_of_what_was_asked(server: Server) -> None:
    payments = StripePayments("sk_test_revoked", api_base=server.url)
    with pytest.raises(PaymentsError) as caught:
        await payments.report_usage(usage("cus_x"))
    await payments.close()
    assert (caught.value.kind, caught.value.undone) == ("not_allowed", True)


async def test_passing_trouble_is_not_reported(
    payments: StripePayments, faults: httpx.AsyncClient
) -> None:
    await fault(faults, CUSTOMERS, "conflict")
    assert await new_customer(payments)


async def test_answers_that_are_not_stripes_are_no_answers() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"welcome": "to the proxy"}'
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(page, "127.0.0.1", 0)
    payments = StripePayments(KEY, api_base=f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: payments.subscription("sub_x"),
        lambda: payments.subscriptions("cus_x"),
        lambda: payments.invoices("cus_x", 10),
        lambda: payments.preview("sub_x"),
        lambda: payments.portal("cus_x", return_url="http://127.0.0.1/"),
        lambda: payments.customer(uuid4(), "ada@example.com", ""),
        lambda: payments.report_usage(usage("cus_x")),
        lambda: payments.reported_usage("cus_x", datetime.now(UTC), datetime.now(UTC)),
    ]
    try:
        for ask in asked:
            with pytest.raises(PaymentsError):
                await ask()
    finally:
        await payments.close()
        proxy.close()
        await proxy.wait_closed()


# Usage


async def test_usage_counts_once_whatever_it_is_sent_under(payments: StripePayments) -> None:
    customer = await new_customer(payments)
    event = usage(customer, 70)
    assert await payments.report_usage(event) is True
    again = MeterEvent(event.identifier, customer, 70, event.at, failures=1)
    assert await payments.report_usage(again) is False
    start = event.at.replace(second=0, microsecond=0)
    assert await payments.reported_usage(customer, start, start + timedelta(minutes=1)) == 70


async def test_usage_is_of_its_own_minute(payments: StripePayments) -> None:
    customer = await new_customer(payments)
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    for number, at in enumerate((day, day + timedelta(hours=24, microseconds=-1))):
        await payments.report_usage(MeterEvent(f"usage-{uuid4()}", customer, 10 + number, at))
    assert await payments.reported_usage(customer, day, day + timedelta(days=1)) == 21
    assert (
        await payments.reported_usage(customer, day + timedelta(minutes=1), day + timedelta(days=1))
        == 11
    )
    assert (
        await payments.reported_usage(customer, day + timedelta(days=1), day + timedelta(days=2))
        == 0
    )


async def test_usage_too_old_is_refused_with_the_providers_code(payments: StripePayments) -> None:
    customer = await new_customer(payments)
    old = MeterEvent("usage-old", customer, 1, datetime.now(UTC) - timedelta(days=36))
    with pytest.raises(PaymentsRefused) as caught:
        await payments.report_usage(old)
    assert caught.value.code == "timestamp_too_far_in_past"
    assert "35 days" in caught.value.message


async def test_meter_that_is_missing_is_reported(server: Server) -> None:
    async with sdk(server.url) as client:
        (meter,) = (await client.v1.billing.meters.list_async({"status": "active"})).data
        await client.v1.billing.meters.deactivate_async(meter.id)
        payments = StripePayments(KEY, api_base=server.url)
        try:
            now = datetime.now(UTC).replace(second=0, microsecond=0)
            with pytest.raises(PaymentsRefused) as caught:
                await payments.reported_usage("cus_x", now, now + timedelta(minutes=1))
        finally:
            await client.v1.billing.meters.reactivate_async(meter.id)
            await payments.close()
    assert caught.value.code == "meter_missing"
    assert EXTRA_USAGE_METER in caught.value.message


# Webhooks


def signed(body: str, secret: str, *, late: int = 0) -> tuple[bytes, str]:
    header = WebhookSignature.generate_signature_header(  # pyright: ignore[reportUnknownMemberType]
        body, secret, timestamp=int(time.time()) - late
    )
    return body.encode(), header


def event_of(obj: dict[str, Any], kind: str = "customer.subscription.updated") -> str:
    return json.dumps(
        {
            "id": "evt_1",
            "object": "event",
            "type": kind,
            "created": 1_700_000_000,
            "livemode": False,
            "data": {"object": obj},
        }
    )


async def test_delivered_event_is_verified_and_read(
    payments: StripePayments, server: Server
) -> None:
    user = uuid4()
    customer = await payments.customer(user, f"{uuid4().hex}@example.com", "")

    def arrived() -> tuple[bytes, str] | None:
        return next((raw for raw in server.snapshots.raw if customer.encode() in raw[0]), None)

    event = payments.event(*await until(arrived))
    assert event.type == "customer.created"
    assert (event.customer_id, event.subscription_id, event.user_id) == (customer, None, user)
    assert event.object["id"] == customer
    assert event.live is False


USER = "6f0c1b9e-5a53-4c0c-9d52-2d7a4b5a0f11"
DETAILS = {"subscription": "sub_1", "metadata": {"user_id": USER}}


@pytest.mark.parametrize(
    ("obj", "customer", "subscription", "user"),
    [
        (
            {"object": "subscription", "id": "sub_1", "customer": "cus_1", "metadata": {"user_id": USER}},
            "cus_1",
            "sub_1",
            USER,
        ),
        (
            {"object": "checkout.session", "id": "cs_1", "customer": {"id": "cus_1"},
             "subscription": {"id": "sub_1"}, "client_reference_id": USER, "metadata": {}},
            "cus_1",
            "sub_1",
            USER,
        ),
        (
            {"object": "invoice", "id": "in_1", "customer": "cus_1", "metadata": None,
             "parent": {"type": "subscription_details", "subscription_details": DETAILS}},
            "cus_1",
            "sub_1",
            USER,
        ),
        # As versions before `parent` have it.
        ({"object": "invoice", "id": "in_1", "customer": "cus_1", "subscription": "sub_1"},
         "cus_1", "sub_1", None),
        ({"object": "invoice", "id": "in_1", "customer": "cus_1", "parent": None},
         "cus_1", None, None),
        ({"object": "customer", "id": "cus_1", "metadata": {"user_id": "edited by hand"}},
         "cus_1", None, None),
        ({"object": "charge", "id": "ch_1", "customer": None}, None, None, None),
    ],
)  # fmt: skip
def test_event_says_whom_it_is_about(
    payments: StripePayments,
    server: Server,
    obj: dict[str, Any],
    customer: str | None,
    subscription: str | None,
    user: str | None,
) -> None:
    event = payments.event(*signed(event_of(obj), server.snapshots.secret))
    assert (event.customer_id, event.subscription_id) == (customer, subscription)
    assert event.user_id == (UUID(user) if user else None)
    assert event.object == obj


def test_any_of_several_secrets_may_have_signed(payments: StripePayments) -> None:
    assert payments.event(*signed(event_of({}), "whsec_rotated_out")).id == "evt_1"


@pytest.mark.parametrize("late", [299, -299])
def test_signature_may_be_a_little_off(payments: StripePayments, server: Server, late: int) -> None:
    assert payments.event(*signed(event_of({}), server.snapshots.secret, late=late))


GOOD = event_of({})
OURS = "whsec_of_the_tests"


# Made when they are needed: a signature of long ago is invalid for that alone.
@pytest.mark.parametrize(
    "made",
    [
        lambda: signed(GOOD, "whsec_of_somebody_else"),
        lambda: signed(GOOD, OURS, late=302),
        lambda: signed(GOOD, OURS, late=-302),
        lambda: signed(GOOD, OURS, late=-86_400),
        lambda: (GOOD.replace("evt_1", "evt_2").encode(), signed(GOOD, OURS)[1]),
        lambda: (GOOD.encode(), ""),
        lambda: (GOOD.encode(), "t=now,v1=x"),
        lambda: (GOOD.encode(), f"t={int(time.time())}"),
        lambda: (GOOD.encode(), f"t={int(time.time())},v1=ü"),
        lambda: (GOOD.encode(), f"v1={'0' * 64}"),
        lambda: (b"\xff\xfe", signed(GOOD, OURS)[1]),
        lambda: signed("", OURS),
        lambda: signed("no JSON", OURS),
        lambda: signed("[]", OURS),
        lambda: signed("null", OURS),
        lambda: signed('{"id": "evt_1"}', OURS),
        lambda: signed(GOOD.replace('"object": {}', '"object": []'), OURS),
        lambda: signed(event_of({"object": 7}), OURS),
    ],
)
def test_what_stripe_did_not_send_is_invalid(
    payments: StripePayments, made: Callable[[], tuple[bytes, str]]
) -> None:
    body, header = made()
    with pytest.raises(WebhookInvalid):
        payments.event(body, header)
    with pytest.raises(WebhookInvalid):
        payments.meter_notice(body, header)


def test_without_a_secret_nothing_is_valid() -> None:
    payments = StripePayments(KEY)
    with pytest.raises(WebhookInvalid):
        payments.event(*signed(GOOD, ""))


async def test_problem_of_the_meter_is_fetched_and_read(
    payments: StripePayments, server: Server, faults: httpx.AsyncClient
) -> None:
    identifiers = [f"usage-{uuid4()}", f"usage-{uuid4()}.2"]
    meter_error = {"event_name": EXTRA_USAGE_METER, "code": "no_meter", "identifiers": identifiers}
    (await faults.post("/meter-errors", json=meter_error)).raise_for_status()
    body, header = await until(lambda: server.thin.raw[-1] if server.thin.raw else None)
    event_id = payments.meter_notice(body, header)
    assert event_id is not None
    problem = await payments.meter_problem(event_id)
    assert problem.event_id == event_id
    # By their identifiers, also those that were sent under a later key.
    assert problem.reasons == (("no_meter", 2, (identifiers[0], identifiers[1][:-2])),)
    assert problem.meter_id.startswith("mtr_")
    assert abs(problem.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    # It is signed for its own endpoint, and not for the other one.
    with pytest.raises(WebhookInvalid):
        payments.event(body, header)


def test_thin_event_of_another_type_is_none_of_ours(payments: StripePayments) -> None:
    other = {
        "id": "evt_1",
        "object": "v2.core.event",
        "type": "v1.billing.meter.no_meter_found",
        "created": "2026-01-01T00:00:00.000Z",
        "livemode": False,
    }
    assert payments.meter_notice(*signed(json.dumps(other), THIN_SECRET)) is None


async def test_problem_that_can_not_be_fetched_is_to_be_delivered_again(
    payments: StripePayments, server: Server, faults: httpx.AsyncClient
) -> None:
    meter_error = {"event_name": EXTRA_USAGE_METER, "identifiers": ["usage-x"]}
    (await faults.post("/meter-errors", json=meter_error)).raise_for_status()
    body, header = await until(lambda: server.thin.raw[-1] if server.thin.raw else None)
    event_id = payments.meter_notice(body, header)
    assert event_id is not None
    await fault(faults, "*", "rate_limit")
    with pytest.raises(PaymentsError):
        await payments.meter_problem(event_id)


async def test_event_is_recalled_as_it_was_delivered(
    payments: StripePayments, server: Server
) -> None:
    await new_customer(payments)
    body, header = await until(lambda: server.snapshots.raw[-1] if server.snapshots.raw else None)
    delivered = payments.event(body, header)
    recalled = await payments.recall(delivered.id)
    assert (recalled.id, recalled.type, recalled.customer_id) == (
        *(delivered.id, delivered.type, delivered.customer_id),
    )
    assert recalled.object == delivered.object


async def test_event_that_is_not_there_is_refused(payments: StripePayments) -> None:
    with pytest.raises(PaymentsRefused):
        await payments.recall("evt_nothing")
    with pytest.raises(PaymentsRefused):
        await payments.meter_problem("evt_nothing")


# What a subscription means


def subscription(**more: Any) -> StripeSubscription:
    base = {
        "id": "si_base",
        "price": {"id": "price_base", "lookup_key": "pro_base", "metadata": {"plan": "pro"},
                  "product": "prod_1", "recurring": {"usage_type": "licensed"}},
        "current_period_start": 1_700_000_000,
        "current_period_end": 1_702_592_000,
    }  # fmt: skip
    metered = {"id": "si_usage", "price": {"id": "price_usage", "recurring": {"usage_type": "metered"}},
               "current_period_start": 1, "current_period_end": 2}  # fmt: skip
    whole = {
        "id": "sub_1",
        "customer": {"id": "cus_1", "object": "customer"},
        "status": "active",
        "created": 1_700_000_000,
        "items": {"data": [metered, base]},
        "metadata": {"user_id": USER},
        **more,
    }
    return StripeSubscription.model_validate(whole)


def test_period_and_price_are_the_flat_items() -> None:
    paid = subscription().paid("pro")
    assert (paid.price_id, paid.item_id, paid.plan) == ("price_base", "si_base", "pro")
    assert paid.period_start == datetime.fromtimestamp(1_700_000_000, UTC)
    assert paid.period_end == datetime.fromtimestamp(1_702_592_000, UTC)
    assert (paid.customer_id, paid.user_id) == ("cus_1", UUID(USER))
    assert (paid.cancel_at, paid.unpaid_since, paid.trial_end) == (None, None, None)


def test_cancellation_takes_effect_at_the_periods_end_or_when_it_says() -> None:
    assert subscription(cancel_at_period_end=True).paid(None).cancel_at == datetime.fromtimestamp(
        1_702_592_000, UTC
    )
    assert subscription(cancel_at=1_701_000_000).paid(None).cancel_at == datetime.fromtimestamp(
        1_701_000_000, UTC
    )


@pytest.mark.parametrize(
    ("status", "invoice", "since"),
    [
        ("past_due", {"status": "open", "created": 1_700_000_500}, 1_700_000_500),
        ("unpaid", {"status": "open", "created": 1_700_000_500}, 1_700_000_500),
        ("past_due", {"status": "paid", "created": 1_700_000_500}, None),
        ("active", {"status": "open", "created": 1_700_000_500}, None),
        ("past_due", "in_1", None),
        ("past_due", None, None),
    ],
)
def test_unpaid_is_counted_from_the_open_invoice(
    status: str, invoice: object, since: int | None
) -> None:
    paid = subscription(status=status, latest_invoice=invoice).paid(None)
    assert paid.unpaid_since == (datetime.fromtimestamp(since, UTC) if since else None)
