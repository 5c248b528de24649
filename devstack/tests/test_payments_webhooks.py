"""How the Stripe fake delivers events, and which faults can be injected."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from stripe import StripeClient

from childprocess.ports import free_port
from devstack.tests.payments_client import (
    Counterpart,
    control,
    counterpart,
    refused,
    sdk,
    until,
    variables_for,
)
from devstack.tests.webhook_receiver import SECRET, Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def payments(tmp_path: Path, receiver: Receiver) -> Iterator[Counterpart]:
    variables = variables_for(
        tmp_path / "books",
        PAYMENTS_WEBHOOK_URL=receiver.url,
        PAYMENTS_WEBHOOK_SECRET=receiver.secret,
    )
    with counterpart(variables) as running:
        yield running


@pytest.fixture
async def steer(payments: Counterpart) -> AsyncIterator[httpx.AsyncClient]:
    async with control(payments.url) as made:
        yield made


async def test_events_arrive_signed_in_order_and_can_be_looked_up(
    client: StripeClient, receiver: Receiver
) -> None:
    customer = await client.v1.customers.create_async({"name": "Ada"})
    await client.v1.customers.update_async(customer.id, {"name": "Grace"})
    await client.v1.customers.delete_async(customer.id)
    await until(lambda: len(receiver.received) == 3)
    assert receiver.types() == ["customer.created", "customer.updated", "customer.deleted"]
    update = receiver.received[1]
    assert update["data"]["object"]["name"] == "Grace"
    assert update["data"]["previous_attributes"] == {"name": "Ada"}
    assert update["api_version"] == stripe.api_version
    assert update["request"]["id"].startswith("req_")
    found = await client.v1.events.list_async()
    assert [each.id for each in found.data] == [e["id"] for e in reversed(receiver.received)]
    known = await client.v1.events.retrieve_async(update["id"])
    assert known.type == "customer.updated"


async def test_an_event_comes_again_until_it_is_taken(
    client: StripeClient, receiver: Receiver, steer: httpx.AsyncClient
) -> None:
    receiver.answers += [500, 404]
    await client.v1.customers.create_async()
    await until(lambda: len(receiver.received) == 3)
    assert len({event["id"] for event in receiver.received}) == 1

    async def undelivered() -> list[Any]:
        return (await steer.get("/webhooks")).json()["undelivered"]

    while await undelivered():
        pass
    assert (await client.v1.events.list_async()).data[0].pending_webhooks == 0


async def test_undelivered_events_survive_a_crash(tmp_path: Path) -> None:
    port = free_port()
    variables = variables_for(
        tmp_path / "books",
        PAYMENTS_WEBHOOK_URL=f"http://127.0.0.1:{port}/hook",
        PAYMENTS_WEBHOOK_SECRET=SECRET,
    )
    with counterpart(variables) as server:
        async with sdk(server.url) as client, control(server.url) as steer:
            await client.v1.customers.create_async({"name": "Ada"})
            (waiting,) = (await steer.get("/webhooks")).json()["undelivered"]
            assert waiting["type"] == "customer.created"
            assert waiting["last_status"] is None
        server.kill()
    with counterpart(variables), receiving(port=port) as receiver:
        await until(lambda: receiver.types() == ["customer.created"])


async def test_an_endpoint_that_is_away_does_not_hold_up_the_other(
    client: StripeClient, receiver: Receiver
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        await client.v1.webhook_endpoints.create_async({"url": url, "enabled_events": ["*"]})
        for count in (1, 2, 3):
            await client.v1.customers.create_async()
            await until(lambda count=count: len(receiver.received) == count)


async def test_delivery_misbehaves_as_configured(
    client: StripeClient, receiver: Receiver, steer: httpx.AsyncClient
) -> None:
    await steer.post("/webhooks", json={"paused": True, "duplicate": 1.0})
    for _ in range(3):
        await client.v1.customers.create_async()
    assert receiver.received == []
    delivery = (await steer.post("/webhooks/deliver")).json()
    assert delivery == {"delivered": 3, "failed": 0}
    assert len(receiver.received) == 6
    assert len({event["id"] for event in receiver.received}) == 3
    await steer.post("/webhooks", json={"duplicate": 0.0, "drop_answers": 1.0})
    await client.v1.customers.create_async()
    delivery = (await steer.post("/webhooks/deliver")).json()
    assert delivery == {"delivered": 0, "failed": 1}
    await steer.post("/webhooks", json={"drop_answers": 0.0, "shuffle": True, "paused": False})
    await until(lambda: len(receiver.received) == 8)


async def test_an_endpoint_gets_what_it_asked_for(client: StripeClient) -> None:
    with receiving(secret="") as own:
        endpoints = client.v1.webhook_endpoints
        made = await endpoints.create_async(
            {"url": own.url, "enabled_events": ["customer.deleted"]}
        )
        assert made.secret is not None
        own.secret = made.secret
        assert all("secret" not in each for each in (await endpoints.list_async()).data)
        customer = await client.v1.customers.create_async()
        await client.v1.customers.delete_async(customer.id)
        await until(lambda: own.types() == ["customer.deleted"])
        off = await endpoints.update_async(made.id, {"disabled": True})
        assert off.status == "disabled"
        await client.v1.customers.create_async()
        gone = await client.v1.customers.create_async()
        await client.v1.customers.delete_async(gone.id)
        assert [e.type for e in (await client.v1.events.list_async({"limit": 1})).data] == [
            "customer.deleted"
        ]
        assert own.types() == ["customer.deleted"]
    wrong: Any = {"url": "http://127.0.0.1/x", "enabled_events": ["customer.creatd"]}
    await refused(stripe.InvalidRequestError, endpoints.create_async(wrong))


async def test_a_lost_answer_leaves_the_deed_done(
    client: StripeClient, steer: httpx.AsyncClient, receiver: Receiver
) -> None:
    fault = {"operation": "POST /v1/customers", "kind": "lost_answer"}
    await steer.post("/faults", json=fault)
    options: Any = {"idempotency_key": "lost"}
    create = client.v1.customers.create_async
    await refused(stripe.APIConnectionError, create({"name": "Ada"}, options))
    again = await create({"name": "Ada"}, options)
    (only,) = (await client.v1.customers.list_async()).data
    assert only.id == again.id
    await until(lambda: receiver.types() == ["customer.created"])


async def test_calls_fail_as_configured(
    client: StripeClient, steer: httpx.AsyncClient, payments: Counterpart
) -> None:
    create = client.v1.customers.create_async
    cases: list[tuple[str, type[stripe.StripeError]]] = [
        ("rate_limit", stripe.RateLimitError),
        ("conflict", stripe.APIError),
        ("server_error", stripe.APIError),
    ]
    for kind, error in cases:
        await steer.post("/faults", json={"kind": kind})
        await refused(error, create())
    assert (await client.v1.customers.list_async()).data == []
    async with sdk(payments.url, retries=2) as patient:
        await steer.post("/faults", json={"kind": "server_error", "before_or_after": "after"})
        made = await patient.v1.customers.create_async()
    assert [each.id for each in (await client.v1.customers.list_async()).data] == [made.id]
    await steer.post("/faults", json={"kind": "timeout", "seconds": 0.1, "times": None})
    await refused(stripe.APIConnectionError, client.v1.customers.list_async())
    await steer.delete("/faults")
    await client.v1.customers.list_async()


async def test_a_key_in_use_is_a_conflict(client: StripeClient, steer: httpx.AsyncClient) -> None:
    await steer.post("/faults", json={"kind": "delay", "seconds": 0.3})
    options: Any = {"idempotency_key": "busy"}
    create = client.v1.customers.create_async
    first, second = await asyncio.gather(
        create({}, options), create({}, options), return_exceptions=True
    )
    (failed,) = [each for each in (first, second) if isinstance(each, stripe.StripeError)]
    assert failed.http_status == 409
    assert failed.error is not None
    assert failed.error.code == "idempotency_key_in_use"
    assert len((await client.v1.customers.list_async()).data) == 1


async def test_the_control_takes_the_key_and_nothing_misspelt(
    steer: httpx.AsyncClient, payments: Counterpart
) -> None:
    async with httpx.AsyncClient(base_url=payments.url) as http:
        assert (await http.get("/_control/clock")).status_code == 401
        rebound = {"host": "evil.example"}
        assert (await http.get("/health", headers=rebound)).status_code == 400
    for path, body in (
        ("/faults", {"kind": "fire"}),
        ("/clock", {"advance_seconds": -1}),
        ("/webhooks", {"shuffel": True}),
    ):
        assert (await steer.post(path, json=body)).status_code == 400
